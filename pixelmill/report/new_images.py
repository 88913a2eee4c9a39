"""Which of the new images a report names."""

from __future__ import annotations

import os

from pixelmill.report.model import NewImage
from pixelmill.store.reader import Store
from pixelmill.store.rows import Changes


def new_images(store: Store, changes: Changes) -> tuple[NewImage, ...]:
    """A few of those that could be decoded and are there."""
    places = ((row, store.place(row)) for row in changes.new_rows if row < len(store) and store.widths[row])
    return tuple(NewImage(row=row, path=os.path.join(*place)) for row, place in places if place[1])  # noqa: PTH118

"""Rows filled in what was begun, a matrix or a group of columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from pixelmill.store.additions import with_part
from pixelmill.store.columns import Values
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.extents import extents_of_rows, overlay
from pixelmill.store.manifest import Fillable, Manifest, Part
from pixelmill.store.master import PARTS, publish
from pixelmill.store.parts import write_part


def fill(
    writer: StoreWriter, begun: Fillable, rows: np.ndarray, datasets: Mapping[str, Values], *, overtaken: str
) -> None:
    """Publish what `datasets` hold of ascending `rows`. Raises Overtaken, in these words and with nothing published, if
    what was begun is there no more, or what was written is gone."""
    part = write_part(writer.folder / PARTS, datasets)
    with writer.discarding([part]):
        writer.in_turn(partial(_filled, writer, begun, rows, part, overtaken))


def _filled(
    writer: StoreWriter, begun: Fillable, rows: np.ndarray, part: Part, overtaken: str, manifest: Manifest
) -> None:
    own = manifest.fillable(begun.fingerprint)
    if own is None or not (writer.folder / PARTS / part.file).exists():
        raise Overtaken(overtaken)
    added = extents_of_rows(rows, np.arange(len(rows)), part.file)
    grown = own.model_copy(update={"extents": overlay(own.extents, added)})
    publish(writer.folder, with_part(manifest.with_filled(grown), part))

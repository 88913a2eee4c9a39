"""Progress of a worker, on the terminal and in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pixelmill.progress import embedding_bars

_EVERY = 5.0
"""Seconds between two updates in the UI."""


@contextmanager
def shown(totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """Show how far the images in `totals` (by model) are embedded while the block runs; what it gives counts them."""
    total, done, told = sum(totals.values()), 0, time.monotonic()
    words = ", ".join(f"{images:,} images with {model}" for model, images in totals.items())
    artifact: Any = create_progress_artifact(0.0, key="progress", description=words) if total else None
    with embedding_bars(totals) as advance:

        def count(model: str, images: int) -> None:
            nonlocal done, told
            advance(model, images)
            done += images
            if artifact and time.monotonic() - told > _EVERY:
                told = time.monotonic()
                update_progress_artifact(artifact, min(100.0 * done / total, 100.0))

        yield count
    if artifact:
        update_progress_artifact(artifact, 100.0)

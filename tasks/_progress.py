"""Progress of a worker, on the terminal and in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.artifacts import ProgressArtifact, update_progress_artifact
from prefect.runtime import flow_run

from pixelmill.embedding.progress import telling
from pixelmill.progress import embedding_bars
from tasks._artifacts import not_needed

_EVERY = 5.0
"""Seconds between two updates in the UI."""


@contextmanager
def shown(totals: Mapping[str, int]) -> Iterator[None]:
    """Show how far the images in `totals` (by model) are while the block embeds them.

    In the UI it is an artifact of the run that started this one, where people look.
    """
    done, told = dict.fromkeys(totals, 0), time.monotonic()
    artifact = _artifact(totals, done) if sum(totals.values()) else None
    with embedding_bars(totals) as advance:

        def count(model: str, images: int) -> None:
            nonlocal told
            advance(model, images)
            done[model] += images
            if artifact and time.monotonic() - told > _EVERY:
                told = time.monotonic()
                _update(artifact, totals, done)

        with telling(count):
            yield
    if artifact:
        _update(artifact, totals, done)


def _artifact(totals: Mapping[str, int], done: Mapping[str, int]) -> UUID | None:
    run = UUID(flow_run.parent_flow_run_id or flow_run.id)
    artifact: Any = ProgressArtifact(key="progress", progress=0.0, description=_words(totals, done), flow_run_id=run)
    with not_needed("progress"):
        created: UUID = artifact.create(_sync=True).id
        return created
    return None


def _update(artifact: UUID, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
    with not_needed("progress"):
        update_progress_artifact(artifact, _percent(totals, done), _words(totals, done))


def _percent(totals: Mapping[str, int], done: Mapping[str, int]) -> float:
    return round(min(100.0 * sum(done.values()) / sum(totals.values()), 100.0), 1)


def _words(totals: Mapping[str, int], done: Mapping[str, int]) -> str:
    """Cards show the description alone, and of that the beginning; the worker is in the name of its run."""
    parts = (f"{done[model]:,} of {images:,} with {model}" for model, images in totals.items())
    return f"{_percent(totals, done):.0f}%: {', '.join(parts)} ({flow_run.name})"

"""What a night does for columns that are made of vectors: it brings them up to date, where somebody has asked for them
once. What goes wrong with one costs that one alone."""

from __future__ import annotations

import numpy as np

from pixelmill.curation import clusters, duplicates, outliers
from pixelmill.curation.state import forget_rows
from pixelmill.store.column_writer import drop
from pixelmill.store.commit import StoreWriter


def keep_up(writer: StoreWriter, deadline: float | None = None) -> tuple[str, ...]:
    """Bring the columns up to date, in the time that is left; what went wrong, in words."""
    return tuple(told for room in (duplicates, outliers, clusters) for told in room.keep_up(writer, deadline))


def forget(writer: StoreWriter, rows: np.ndarray) -> tuple[str, ...]:
    """Let neither columns nor what is kept beside the store say anything of `rows`, which hold no vector any more; what
    went wrong, in words. Clusters that cannot be made anew are dropped, where one is called by one of these."""
    store = writer.snapshot()
    called = clusters.names_any(store, rows)
    forget_rows(store, rows)
    warnings = keep_up(writer)
    if called and clusters.names_any(writer.snapshot(), rows):
        drop(writer, [clusters.NAME])
        return (*warnings, f"The column {clusters.NAME} is dropped, as one is called by a picture that was forgotten.")
    return warnings

"""Which rows may appear in a result: by path, by date, by size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError
from pixelmill.store.consult import ledger_of
from pixelmill.store.reader import Store

_EARLIEST, _LATEST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filters:
    """What a result must fulfil; everything that is given, and any one of `globs`.

    `globs` are patterns for the path relative to its source, or for the whole path: `*` stands for anything, slashes
    too, `?` for one character, `[ab]` for one of these. `since` and `until` (not included) are about the file's
    modification time as the last run saw it; a content in several files counts if any of them does. `min_size` is the
    least length of the shorter edge in pixels, `max_size` the greatest of the longer one.
    """

    globs: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    min_size: int | None = None
    max_size: int | None = None


def allowed_rows(store: Store, filters: Filters) -> NDArray[np.bool_]:
    """(N,) bool: the rows that some file still holds and that pass. Raises QueryError for dates without a ledger."""
    allowed: NDArray[np.bool_] = store.present.copy()
    if filters.globs:
        allowed &= _by_path(store, filters.globs, allowed)
    if filters.min_size is not None:
        allowed &= np.minimum(store.widths, store.heights) >= filters.min_size
    if filters.max_size is not None:
        longer = np.maximum(store.widths, store.heights)
        allowed &= (longer <= filters.max_size) & (longer > 0)
    if filters.since or filters.until:
        allowed &= _by_date(store, filters)
    return allowed


def _by_path(store: Store, globs: tuple[str, ...], candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    matches = re.compile(b"|".join(b"(?:%s)" % os.fsencode(translate(glob)) for glob in globs)).match
    result = np.zeros(len(store), dtype=bool)
    for row in np.flatnonzero(candidates):
        path = store.paths[row]
        result[row] = bool(matches(path) or matches(os.path.join(store.sources[row], path)))  # noqa: PTH118 - bytes
    return result


def _by_date(store: Store, filters: Filters) -> NDArray[np.bool_]:
    result = np.zeros(len(store), dtype=bool)
    rows = np.fromiter(_rows_between(store, filters), np.int64)
    result[rows[rows < len(store)]] = True
    return result


def _rows_between(store: Store, filters: Filters) -> Iterator[int]:
    with ledger_of(store.folder) as ledger:
        if ledger is None:
            raise QueryError(
                f"Expected a ledger in {store.folder}, which knows the dates of files. Found none; a run makes one."
            )
        yield from ledger.rows_modified(_nanoseconds(filters.since, _EARLIEST), _nanoseconds(filters.until, _LATEST))


def _nanoseconds(moment: datetime | None, otherwise: int) -> int:
    return otherwise if moment is None else int(moment.timestamp() * 1e9)

"""Which rows may appear in a result: by path, by date, by size, by a condition in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError
from pixelmill.search.conditions import read
from pixelmill.search.dates import dates_told, is_known, taken_within
from pixelmill.search.lines import OF_FILES
from pixelmill.search.moments import beginning_ns, end_ns
from pixelmill.search.places import Fits, fitting, ledger_stamp
from pixelmill.search.where import OF_THE_LEDGER, columns_of, rows_where
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from pixelmill.store.rows import Place


@dataclass(frozen=True, slots=True)
class Filters:
    """What a result must fulfil; everything that is given, and any one of `globs`.

    `globs` are patterns for the path relative to its source, or for the whole path: `*` stands for anything, slashes
    too, `?` for one character, `[ab]` for one of these. `since` and `until` are about when a picture was taken, where
    the store knows that (`dates.taken_within`), else about the file's modification time as the last run saw it: a day
    (`date`) counts from its first moment and to its last, a moment (`datetime`) is included in `since` and not in
    `until`; of files, without a time zone, both are local. A content in several files passes if one of these passes by
    path and date. `min_size` is the least length of the shorter edge in pixels, `max_size` the greatest of the longer
    one. `where` is a condition in SQL over `where.COLUMNS` and the columns of the store.
    """

    globs: tuple[str, ...] = ()
    since: date | datetime | None = None
    until: date | datetime | None = None
    min_size: int | None = None
    max_size: int | None = None
    where: str | None = None

    def stamp(self, store: Store) -> object:
        """What changes when other rows of the same snapshot may pass: dates and copies are the ledger's to tell,
        and what is now is another moment each time."""
        if self.where is not None and read(self.where).fleeting:
            return object()
        asked = self.globs or self.since or self.until or self._names(OF_THE_LEDGER)
        return ledger_stamp(store.folder) if asked else None

    @property
    def names_files(self) -> bool:
        """Whether `where` is about what differs among the files of one content."""
        return self._names(OF_FILES)

    def _names(self, columns: frozenset[str]) -> bool:
        return self.where is not None and not columns.isdisjoint(columns_of(self.where))


def allowed_rows(store: Store, filters: Filters) -> NDArray[np.bool_]:
    """(N,) bool: the rows that some file still holds and that pass. Raises QueryError for dates without a ledger, and
    for a condition that cannot be answered."""
    allowed: NDArray[np.bool_] = store.present.copy()
    if filters.min_size is not None:
        allowed &= np.minimum(store.widths, store.heights) >= filters.min_size
    if filters.max_size is not None:
        longer = np.maximum(store.widths, store.heights)
        allowed &= (longer <= filters.max_size) & (longer > 0)
    if filters.since or filters.until:
        allowed &= _by_date(store, filters, allowed)
    elif filters.globs:
        allowed &= _by_path(store, fitting(filters.globs), allowed)
    if filters.where is not None:
        allowed &= rows_where(store, filters.where)
    return allowed


def notes_for(store: Store, filters: Filters) -> Iterator[str]:
    """What a person who filters should know: what dates are, and that without a ledger each content is known by one
    path only."""
    if filters.since or filters.until:
        yield dates_told(store)
    if filters.globs or filters.names_files:
        with ledger_of(store.folder) as ledger:
            if not ledger:
                yield "The store has no ledger: of copies of one content, only one path was looked at."


def _by_path(store: Store, fits: Fits, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """By the paths that the store names, and by those of copies."""
    result = np.zeros(len(store), dtype=bool)
    for row in np.flatnonzero(candidates):
        result[row] = fits(store.sources[row], store.paths[row])
    with ledger_of(store.folder) as ledger:
        if ledger:
            _mark(result, ledger.contents.shared_places(), fits)
    return result


def _by_date(store: Store, filters: Filters, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """By when they were taken, at any path that fits; of others, by a file's date and its path together."""
    result, fits = taken_within(store, filters.since, filters.until), fitting(filters.globs)
    if filters.globs:
        result &= _by_path(store, fits, candidates & result)
    others = candidates & ~is_known(store)
    if others.any():
        by_file = np.zeros(len(store), dtype=bool)
        with _ledger(store) as ledger:
            _mark(by_file, ledger.contents.places_modified(beginning_ns(filters.since), end_ns(filters.until)), fits)
        result |= by_file & others
    return result


def _mark(rows: NDArray[np.bool_], places: Iterator[Place], fits: Fits) -> None:
    for place in places:
        if place.row < len(rows) and not rows[place.row]:
            rows[place.row] = fits(place.source, place.path)


@contextmanager
def _ledger(store: Store) -> Iterator[Ledger]:
    with ledger_of(store.folder) as ledger:
        if ledger is None:
            raise QueryError(
                f"Expected a ledger in {store.folder}, which knows the dates of files. Found none; a run makes one."
            )
        yield ledger

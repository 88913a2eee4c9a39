"""Near-duplicates over all rows of a store, as groups and as the column `duplicate_of`, made and kept up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from pixelmill.curation.cells import Cells
from pixelmill.curation.keep import Keep, best_first, merits
from pixelmill.curation.near import TILE, Check, cosines_of
from pixelmill.curation.publishing import in_time, publish
from pixelmill.curation.stars import NOBODY, AllEarlier, stars
from pixelmill.curation.state import Made, State, keep_state, made_of, read_state
from pixelmill.curation.update import TooMuch, updated
from pixelmill.errors import PixelmillError, reason_of
from pixelmill.search.searcher import default_model
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from pixelmill.watch.saying import saying

EXACT_UP_TO: Final = 200_000
"""Rows of which all are compared with all."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The groups of a store: what they are made of, and for each row the one that is kept for it (`owners`, NOBODY for
    one that is kept or has no look-alike); `compared` rows, by `judged`; `recall` as in State."""

    made: Made
    store: Store
    owners: np.ndarray
    judged: np.ndarray
    compared: int
    recall: float

    @property
    def duplicates(self) -> np.ndarray:
        """The rows that another is kept for, by that one, then the most alike first."""
        rows = np.flatnonzero(self.owners != NOBODY)
        order = np.lexsort((rows, -self.similarities(rows), self.owners[rows]))
        result: np.ndarray = rows[order]
        return result

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows),) float64: the cosine of each duplicate to the row that is kept for it."""
        return cosines_of(self.store[self.made.model], rows, self.owners[rows])


def find_duplicates(
    writer: StoreWriter, *, model: str | None = None, threshold: float = 0.97, keep: Keep = "largest",
    check: Check = lambda: None, exact_up_to: int = EXACT_UP_TO,
) -> Duplicates:  # fmt: skip
    """Group the look-alikes among all rows that have a file and a vector, and publish the column `duplicate_of`.

    `model`: whose vectors are compared (None: as a search chooses). Where that was done before with the same model,
    threshold and keep, only what has changed since is looked at. Raises UnknownModel, UnknownColumn, QueryError.
    """
    store = writer.snapshot()
    name = model or default_model(store, [])
    made = Made(model=name, fingerprint=store[name].provenance.fingerprint, threshold=threshold, keep=keep)
    return _found(writer, store, made, check, exact_up_to)


def keep_up(writer: StoreWriter, deadline: float | None = None) -> tuple[str, ...]:
    """Bring `duplicate_of` up to date, in a store that has it; what went wrong with that, in words. To be called when
    what a run has found is published."""
    store = writer.snapshot()
    before = made_of(store)
    if before is None:
        return ()
    try:
        made = before.model_copy(update={"fingerprint": store[before.model].provenance.fingerprint})
        with saying("Looking for duplicates among what is new"):
            _found(writer, store, made, partial(in_time, deadline), EXACT_UP_TO)
    except (PixelmillError, OSError, MemoryError) as error:
        return (f"The column duplicate_of stays as it was: {reason_of(error)}",)
    return ()


def _found(writer: StoreWriter, store: Store, made: Made, check: Check, exact_up_to: int) -> Duplicates:
    view = store[made.model]
    rows = view.rows
    before = read_state(store, made)
    judged = np.zeros((len(store), 3), np.int64)
    judged[rows] = merits(store, rows, made.keep)
    order = best_first(rows, judged[rows])
    try:
        owners, recall = _changed(view, rows, order, judged, before, made.threshold, check)
    except TooMuch:
        owners, recall = _anew(view, rows, order, made.threshold, check, exact_up_to)
    compared = np.zeros(len(store), bool)
    compared[rows] = True
    publish(writer, made.group, np.where(owners == NOBODY, MISSING_INT, owners))
    keep_state(store, made, State(compared, judged, owners, recall))
    return Duplicates(made, store, owners, judged, len(rows), recall)


def _changed(
    view: MatrixView, rows: np.ndarray, order: np.ndarray, judged: np.ndarray, before: State | None, threshold: float,
    check: Check,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Who is kept for each row of the store, from what was known before. Raises TooMuch where that is nothing."""
    if before is None:
        raise TooMuch
    total, known = len(judged), len(before.owners)
    owners = np.full(total, NOBODY, np.int64)
    owners[:known] = before.owners
    as_before = np.zeros(total, bool)
    as_before[:known] = before.compared & (before.judged == judged[:known]).all(axis=1)
    is_there = np.zeros(total, bool)
    is_there[rows] = True
    as_before &= is_there
    orphaned = (owners != NOBODY) & ~as_before[owners]
    owners[~is_there] = NOBODY
    result = np.full(total, NOBODY, np.int64)
    result[rows] = updated(view, rows, order, owners, is_there & (~as_before | orphaned), threshold, check)
    return result, before.recall


def _anew(
    view: MatrixView, rows: np.ndarray, order: np.ndarray, threshold: float, check: Check, exact_up_to: int
) -> tuple[np.ndarray, float]:
    """The same, by going through all rows."""
    by_merit = rows[order]
    owners = np.full(len(view), NOBODY, np.int64)
    if len(rows) <= exact_up_to:
        found, recall = stars(view, by_merit, threshold, AllEarlier(view, by_merit, threshold), check=check), 1.0
    else:
        cells = Cells.of(view, by_merit, threshold, check)
        found, recall = stars(view, by_merit, threshold, cells, block=2 * TILE, check=check), cells.recall
    taken = found != NOBODY
    owners[by_merit[taken]] = by_merit[found[taken]]
    return owners, recall

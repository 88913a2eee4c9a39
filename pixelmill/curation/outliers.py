"""How far each picture lies from those nearest to it: what does not belong comes first. The column `outlier`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixelmill.curation.near import Check, tiles, units
from pixelmill.curation.publishing import in_time, publish
from pixelmill.errors import PixelmillError, reason_of
from pixelmill.search.searcher import default_model
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from pixelmill.watch.saying import saying

NAME: Final = "outlier"
SOURCE: Final = "outliers"
EXACT_UP_TO: Final = 200_000
"""Rows of which all are compared with all."""
DRAWN: Final = 50_000
"""Of more, rows drawn by lot that each is compared with. Few tell outliers well (Sugiyama and Borgwardt 2013)."""
_AT_ONCE: Final = 2_048
_FEW: Final = 4
"""Times as many as are kept."""


class Measured(BaseModel):
    """What the column is made of: the model, the fingerprint of its vectors, how many neighbours count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    fingerprint: str
    neighbours: int = Field(ge=1)

    @property
    def group(self) -> ColumnGroup:
        """The column; others have another version."""
        return ColumnGroup(source=SOURCE, version=self.model_dump_json(), columns=(Column(name=NAME, kind="float64"),))


@dataclass(frozen=True, slots=True)
class Outliers:
    """The rows of a store, those that lie farthest from others first, with how far that is (`distances`); `others`:
    how many each was compared with at most."""

    made: Measured
    store: Store
    rows: np.ndarray
    distances: np.ndarray
    others: int


def find_outliers(
    writer: StoreWriter, *, model: str | None = None, neighbours: int = 10, check: Check = lambda: None
) -> Outliers:
    """Measure all rows that have a file and a vector, and publish the column `outlier`: the mean cosine distance, which
    is 1 less the cosine, to the `neighbours` nearest. `model`: None, as a search chooses. Raises UnknownModel,
    QueryError."""
    store = writer.snapshot()
    name = model or default_model(store, [])
    made = Measured(model=name, fingerprint=store[name].provenance.fingerprint, neighbours=neighbours)
    return _measured(writer, store, made, store[name].rows, check)


def keep_up(writer: StoreWriter, deadline: float | None = None) -> tuple[str, ...]:
    """Measure what is new, in a store that has the column, or all, if another generation of vectors is served; what
    went wrong with that, in words."""
    store = writer.snapshot()
    before = _made_of(store)
    if before is None:
        return ()
    try:
        view = store[before.model]
        made, rows = before.model_copy(update={"fingerprint": view.provenance.fingerprint}), view.rows
        if made == before:
            rows = rows[np.isnan(store.columns.read(NAME)[rows])]
        if len(rows):
            with saying("Measuring how far from others what is new lies"):
                _measured(writer, store, made, rows, partial(in_time, deadline))
    except (PixelmillError, OSError, MemoryError) as error:
        return (f"The column {NAME} stays as it was: {reason_of(error)}",)
    return ()


def _made_of(store: Store) -> Measured | None:
    found = store.manifest.column(NAME)
    if found is None or found[0].source != SOURCE:
        return None
    try:
        return Measured.model_validate_json(found[0].version)
    except ValidationError:
        return None


def _measured(writer: StoreWriter, store: Store, made: Measured, rows: np.ndarray, check: Check) -> Outliers:
    view = store[made.model]
    others = view.rows
    if len(others) > EXACT_UP_TO:
        others = np.sort(np.random.default_rng(0).permutation(others)[:DRAWN])
    found = distances(view, rows, others, made.neighbours, check)
    is_as_before = _made_of(store) == made
    values = store.columns.read(NAME).copy() if is_as_before else np.full(len(store), np.nan)
    values[rows] = found
    publish(writer, made.group, values)
    order = np.lexsort((rows, -found))
    return Outliers(made, store, rows[order], found[order], len(others))


def distances(view: MatrixView, rows: np.ndarray, others: np.ndarray, number: int, check: Check) -> np.ndarray:
    """(len(rows),) float64: the mean of 1 less the cosine to the `number` nearest of `others` (ascending), but for the
    row itself; to all where there are fewer, NaN where there is none."""
    result = np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        vectors, best = units(view, some), np.full((len(some), number), -np.inf, np.float32)
        for first, tile in tiles(view, others):
            check()
            cosines = vectors @ tile.T
            _leave_out(cosines, some, others[first : first + len(tile)])
            best = _best(best, cosines)
        there = np.isfinite(best)
        counted = there.sum(axis=1)
        total = np.where(there, 1 - best.astype(np.float64), 0).sum(axis=1)
        result[start : start + len(some)] = np.where(counted > 0, total / np.maximum(counted, 1), np.nan)
    return np.maximum(result, 0)


def _leave_out(cosines: np.ndarray, some: np.ndarray, others: np.ndarray) -> None:
    """Nobody is a neighbour of its own."""
    at = np.searchsorted(others, some)
    own = np.flatnonzero(others[np.minimum(at, len(others) - 1)] == some)
    cosines[own, at[own]] = -np.inf


def _best(best: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """The greatest of both, of each row as many as there were. Where few are greater than the least, only they move."""
    number = best.shape[1]
    greater = cosines > best.min(axis=1, keepdims=True)
    if np.count_nonzero(greater) > _FEW * best.size:
        whole: np.ndarray = np.partition(np.hstack([best, cosines]), cosines.shape[1], axis=1)[:, cosines.shape[1] :]
        return whole
    rows, columns = np.nonzero(greater)
    each = np.bincount(rows, minlength=len(best))
    width = int(each.max(initial=0))
    wider = np.full((len(best), number + width), -np.inf, np.float32)
    wider[:, :number] = best
    wider[rows, number + np.arange(len(rows)) - np.repeat(np.cumsum(each) - each, each)] = cosines[rows, columns]
    result: np.ndarray = np.partition(wider, width, axis=1)[:, width:]
    return result

"""What a map can be coloured by: the folder, the cluster, a column of few values, or a scale of numbers and times."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.curation.clusters import NAME as CLUSTER
from pixelmill.errors import QueryError, nearest
from pixelmill.formatting import printable
from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.reader import Store
from pixelmill.web.clusters import Clusters
from pixelmill.web.facets import Choice, Facets, Months, Span, equal, literal, named
from pixelmill.web.snapshot import Snapshot

FOLDER: Final = "folder"
NONE, OTHERS = -1, -2
"""The codes of rows of which nothing is known, and of those with a value that is not told."""
_TOLD: Final = 200
"""Values that are told one by one, the commonest."""
_INNER: Final = (2, 98)
"""Percentiles between which a scale runs, so that a few odd values do not make all others one colour."""


@dataclass(frozen=True, slots=True)
class Values:
    """What few values say. `codes` (M,) int64 are indices into `told`, or NONE, or OTHERS; of each value how many rows
    have it, and the condition in SQL that finds them, '' where none can be written."""

    codes: NDArray[np.int64]
    told: tuple[tuple[str | int, int, str], ...]
    unknown: str
    """The condition of those of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What numbers say. `values` (M,) float64, NaN where nothing is known; the colours run from `low` to `high`."""

    column: Column
    values: NDArray[np.float64]
    low: float
    high: float


def choices(snapshot: Snapshot) -> dict[str, bool]:
    """What can be chosen, by name: whether it is a scale."""
    facets, clusters = snapshot.facets(), snapshot.clusters()
    first = [FOLDER, *([CLUSTER] if clusters else [])]
    return dict.fromkeys(first, False) | {
        facet.column.name: isinstance(facet, Months | Span)
        for facet in facets.offered
        if facet.column.name not in first
    }


def coloured(snapshot: Snapshot, by: str, rows: NDArray[np.int64]) -> Values | Scale:
    """What there is to know of `rows`, by a column, the cluster, or the folder. Raises QueryError for anything else."""
    store, clusters = snapshot.store, snapshot.clusters()
    if by == FOLDER:
        return _by_folder(store, rows)
    if by == CLUSTER and clusters:
        return _by_cluster(clusters, rows, len(store))
    return _by_column(store, snapshot.facets(), by, rows, choices(snapshot))


def _by_column(
    store: Store, facets: Facets, by: str, rows: NDArray[np.int64], known: dict[str, bool]
) -> Values | Scale:
    facet = next((facet for facet in facets.offered if facet.column.name == by), None)
    if facet is None:
        raise QueryError(f"Expected one of {', '.join(known)} to colour by. Got {by!r}.{nearest(by, known)}")
    if isinstance(facet, Choice) and not isinstance(facet, Months):
        codes, numbers = facet.codes[rows].astype(np.int64), facet.column.kind != "text"
        return _values(codes, facet.values, facet.conditions, as_they_come=numbers)
    return _scale(facet.column, store.columns.take(by, rows))


def _scale(column: Column, found: NDArray[np.int64] | NDArray[np.float64]) -> Scale:
    values = np.where(found == MISSING_INT, np.nan, found.astype(np.float64))
    values[~np.isfinite(values)] = np.nan
    known = values[~np.isnan(values)]
    if not len(known):
        return Scale(column, values, 0.0, 0.0)
    low, high = np.percentile(known, _INNER).tolist()
    least, greatest = float(known.min()), float(known.max())
    return Scale(column, values, *((low, high) if low < high else (least, greatest)))


def _by_cluster(clusters: Clusters, rows: NDArray[np.int64], number: int) -> Values:
    codes = np.full(number, NONE, np.int64)
    for code, held in enumerate(clusters.rows):
        codes[held] = code
    conditions = [equal(clusters.column, name) for name in clusters.names]
    return _values(codes[rows], clusters.names, [*conditions, f"{named(clusters.column)} IS NULL"])


def _by_folder(store: Store, rows: NDArray[np.int64]) -> Values:
    first, last = (int(rows[0]), int(rows[-1])) if len(rows) else (0, -1)
    paths = list(map(os.fsdecode, store.texts("images/path", first, last + 1)[rows - first]))
    parents = [tuple(path.split("/")[:-1]) for path in paths]
    depth = _telling_depth(parents)
    held = [parent[:depth] for parent in parents]
    names = list(dict.fromkeys(held))
    numbers = {name: number for number, name in enumerate(names)}
    conditions = [_inside(name, below=len(name) == depth) for name in names]
    told = [printable("/".join(name)) or "." for name in names]
    return _values(np.array([numbers[name] for name in held], np.int64), told, [*conditions, ""])


def _inside(folder: tuple[str, ...], *, below: bool) -> str:
    """In SQL: what lies in a folder, and, with `below`, in folders in it."""
    path = "".join(f"{part}/" for part in folder)
    if not path.isprintable():
        return ""
    within = f"starts_with(path, {literal(path)})" if path else ""
    here = f"NOT contains(substring(path, {len(path) + 1}), '/')" if not below else ""
    return " AND ".join(filter(None, (within, here))) or "true"


def _telling_depth(parents: Sequence[tuple[str, ...]]) -> int:
    """The first level of folders at which there is more than one."""
    deepest = max(map(len, parents), default=0)
    return next((depth for depth in range(1, deepest) if len({one[:depth] for one in parents}) > 1), max(deepest, 1))


def _values(
    codes: NDArray[np.int64], values: Sequence[str | int], conditions: Sequence[str], *, as_they_come: bool = False
) -> Values:
    """The values that some rows have, the commonest first, or as they are given."""
    counts = Counter(codes[codes >= 0].tolist())
    shown = sorted(counts, key=lambda code: (-counts[code], str(values[code])))[:_TOLD]
    if as_they_come:
        shown.sort()
    places = np.full(len(values) + 1, OTHERS, np.int64)
    places[-1] = NONE
    places[shown] = np.arange(len(shown))
    told = ((values[code], counts[code], conditions[code]) for code in shown)
    return Values(places[codes], tuple(told), conditions[-1])


def spread(scale: Scale) -> Iterator[float | None]:
    """The values of a scale as JSON can carry them: six digits of numbers, times to the millisecond."""
    for value in scale.values.tolist():
        yield None if value != value else value if scale.column.is_time else float(f"{value:.6g}")

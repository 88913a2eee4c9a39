"""Clusters of pictures, as `pixelmill clusters` made them: how many pictures each has, and which lie in its middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.curation.clusters import NAME, clustered
from pixelmill.curation.near import units
from pixelmill.store.columns import Column
from pixelmill.store.reader import BLOCK, Store

_LOOKED_AT: Final = 400
"""Pictures of a cluster that are compared with the one in its middle: 30 clusters of 1280 dims take 60 MB to read."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters of a store, by `model`: of each its name, which is a value of `column`, the row in its middle, and
    `rows` (M,) of its pictures that are shown, ascending; the one with most pictures first. `without` is how many
    pictures are in none."""

    column: Column
    model: str
    names: tuple[str, ...]
    medoids: tuple[int, ...]
    rows: tuple[NDArray[np.int64], ...]
    without: int


def clusters_of(store: Store, shown: NDArray[np.int64]) -> Clusters | None:
    """The clusters of the pictures `shown`, sorted; None where the store has none. One that lost all its pictures is
    left out."""
    made = clustered(store)
    if made is None:
        return None
    column = store.columns.about(NAME)[1]
    named = [store.columns.read(NAME, row, row + 1)[0] for row in made.medoids]
    numbers = {name: number for number, name in enumerate(named) if name}
    codes = np.concatenate([np.empty(0, np.int64), *_codes(store, numbers)])[shown]
    held = np.split(shown[np.argsort(codes, kind="stable")], np.cumsum(np.bincount(codes + 1, minlength=1))[:-1])
    without, by_number = held[0], {number: rows for number, rows in enumerate(held[1:]) if len(rows)}
    order = sorted(by_number, key=lambda number: (-len(by_number[number]), number))
    return Clusters(
        column, made.model, tuple(named[i].decode("utf-8", "backslashreplace") for i in order),
        tuple(made.medoids[i] for i in order), tuple(by_number[i] for i in order), len(without),
    )  # fmt: skip


def _codes(store: Store, numbers: dict[bytes, int]) -> Sequence[NDArray[np.int64]]:
    """In blocks, of each row: the number of its cluster, -1 for none."""
    blocks = [store.columns.read(NAME, start, min(start + BLOCK, len(store))) for start in range(0, len(store), BLOCK)]
    return [np.array([numbers.get(name, -1) for name in block.tolist()], np.int64) for block in blocks]


def middle(store: Store, model: str, medoid: int, rows: NDArray[np.int64], most: int) -> list[tuple[int, float | None]]:
    """Of a cluster, at most so many of its `rows`, the one in its middle first, then those most like it, each with its
    cosine to it. Of more than _LOOKED_AT, so many at equal distances are looked at. Without the model's vectors, which
    a store may have given up, any."""
    if model not in store.models:
        return [(row, None) for row in sorted(rows.tolist(), key=lambda row: row != medoid)[:most]]
    looked_at = rows[:: -(-len(rows) // _LOOKED_AT)]
    looked_at = np.union1d(looked_at, rows[rows == medoid])
    vectors = units(store[model], np.append(looked_at, medoid))
    cosines = np.clip(np.nan_to_num(vectors[:-1] @ vectors[-1]), -1, 1)
    best = np.lexsort((looked_at, -cosines, looked_at != medoid))[:most]
    return [(int(looked_at[i]), round(float(cosines[i]), 4)) for i in best]

"""Pictures by what they are like: in clusters, each around the picture in its middle, by whose path it is called."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pixelmill.curation.means import nearest, spherical_means, spread
from pixelmill.curation.near import Check, tiles, units
from pixelmill.curation.publishing import in_time, publish
from pixelmill.errors import PixelmillError, reason_of
from pixelmill.search.searcher import default_model
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView, Store
from pixelmill.watch.saying import saying

NAME: Final = "cluster"
SOURCE: Final = "clusters"
MOST: Final = 200
"""Clusters that are made when nobody says how many."""
_DRAWN: Final = 50_000
_ROUNDS: Final = 30


class Clustered(BaseModel):
    """What the column is made of: the model, the fingerprint of its vectors, and the rows in the middle of clusters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    fingerprint: str
    medoids: tuple[int, ...]

    @property
    def group(self) -> ColumnGroup:
        """The column; others have another version."""
        return ColumnGroup(source=SOURCE, version=self.model_dump_json(), columns=(Column(name=NAME, kind="text"),))


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters of a store: of each of `made.medoids` its name, how many pictures it has, and their mean cosine to
    it."""

    made: Clustered
    names: tuple[str, ...]
    sizes: np.ndarray
    cosines: np.ndarray


def find_clusters(
    writer: StoreWriter, *, model: str | None = None, number: int | None = None, check: Check = lambda: None
) -> Clusters:
    """Cluster all rows that have a file and a vector, and publish the column `cluster`: the path of the picture in the
    middle, of all such pictures the one that it is most like.

    `number` of clusters: None, the root of half the rows (Mardia et al. 1979), at most MOST. `model`: None, as a search
    chooses. Raises UnknownModel, QueryError.
    """
    store = writer.snapshot()
    name = model or default_model(store, [])
    return _made(writer, store, name, number, check)


def keep_up(writer: StoreWriter, deadline: float | None = None) -> tuple[str, ...]:
    """Put what is new into the clusters that there are, in a store that has the column; make as many anew if another
    generation of vectors is served, or a picture in a middle was forgotten. What went wrong with that, in words."""
    store = writer.snapshot()
    before = clustered(store)
    if before is None:
        return ()
    check = partial(in_time, deadline)
    try:
        view = store[before.model]
        if view.provenance.fingerprint != before.fingerprint or not view.embedded[list(before.medoids)].all():
            with saying("Clustering anew"):
                _made(writer, store, before.model, len(before.medoids), check)
            return ()
        values = store.columns.read(NAME).copy()
        rows = view.rows[values[view.rows] == b""]
        if len(rows):
            names = values[list(before.medoids)]
            homes, _ = _homes(view, rows, units(view, np.array(before.medoids)), check)
            values[rows] = names[homes]
            publish(writer, before.group, values)
    except (PixelmillError, OSError, MemoryError) as error:
        return (f"The column {NAME} stays as it was: {reason_of(error)}",)
    return ()


def names_any(store: Store, rows: np.ndarray) -> bool:
    """Whether one of `rows` is in the middle of a cluster, which is called by its path."""
    made = clustered(store)
    return made is not None and not set(rows.tolist()).isdisjoint(made.medoids)


def clustered(store: Store) -> Clustered | None:
    """What the column of a store is made of; None where there is none, or another's of that name."""
    found = store.manifest.column(NAME)
    if found is None or found[0].source != SOURCE:
        return None
    try:
        return Clustered.model_validate_json(found[0].version)
    except ValidationError:
        return None


def _made(writer: StoreWriter, store: Store, model: str, number: int | None, check: Check) -> Clusters:
    view = store[model]
    rows = view.rows
    medoids = _medoids(view, rows, number or max(1, min(math.isqrt(len(rows) // 2), MOST)), check)
    made = Clustered(model=model, fingerprint=view.provenance.fingerprint, medoids=tuple(medoids.tolist()))
    names = _names(store, made.medoids)
    homes, cosines = _homes(view, rows, units(view, medoids), check)
    values = np.full(len(store), b"", object)
    values[rows] = np.array([os.fsencode(name) for name in names], object)[homes]
    publish(writer, made.group, values)
    sizes = np.bincount(homes, minlength=len(names))
    means = np.bincount(homes, cosines, minlength=len(names)) / np.maximum(sizes, 1)
    return Clusters(made, names, sizes, means)


def _medoids(view: MatrixView, rows: np.ndarray, number: int, check: Check) -> np.ndarray:
    """The rows nearest to the centres that rows drawn by lot lie around, ascending."""
    if not len(rows):
        return rows
    drawn = np.sort(np.random.default_rng(0).permutation(rows)[:_DRAWN])
    sample = np.concatenate([tile for _, tile in tiles(view, drawn)])
    centres = spherical_means(sample, spread(sample, number, check), _ROUNDS, check)
    homes, cosines = _homes(view, rows, centres, check)
    order = np.lexsort((rows, -cosines, homes))
    _, first = np.unique(homes[order], return_index=True)
    result: np.ndarray = np.sort(rows[order[first]])
    return result


def _homes(view: MatrixView, rows: np.ndarray, centres: np.ndarray, check: Check) -> tuple[np.ndarray, np.ndarray]:
    """(len(rows),) which of `centres` each row is most like, and the cosine to it."""
    homes, cosines = np.zeros(len(rows), np.int64), np.zeros(len(rows))
    for start, tile in tiles(view, rows):
        check()
        at = slice(start, start + len(tile))
        homes[at] = nearest(tile, centres, 1)[:, 0]
        cosines[at] = np.einsum("ij,ij->i", tile, centres[homes[at]])
    return homes, cosines


def _names(store: Store, rows: Sequence[int]) -> tuple[str, ...]:
    """The paths of pictures; with their source, where two have the same."""
    places = [store.place(row) for row in rows]
    count = Counter(path for _, path in places)
    return tuple(path if count[path] == 1 else os.path.join(source, path) for source, path in places)  # noqa: PTH118

"""What the gallery knows of one snapshot of a store, worked out once; and the newest snapshot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pixelmill.errors import StoreError
from pixelmill.search.filters import Filters, allowed_rows
from pixelmill.search.searcher import Searcher
from pixelmill.store.reader import BLOCK, Store
from pixelmill.web.clusters import Clusters, clusters_of
from pixelmill.web.duplicates import Duplicates, near_duplicates
from pixelmill.web.facets import Facets, facets_of
from pixelmill.web.map import Map, project

Made = TypeVar("Made")
_KEPT = 16
"""Results that are kept: the last maps and groups of duplicates."""


class Snapshot:
    """One snapshot. Safe to use from many threads; what takes long is worked out by one of them at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._guards = {kind: threading.Lock() for kind in ("filters", "map", "duplicates", "facets", "clusters")}
        self._made: dict[Any, Any] = {}

    @cached_property
    def places(self) -> tuple[np.ndarray, list[bytes]]:
        """(N,) int32, the source of each row as an index into the list, -1 where the file is gone; and the sources."""
        numbers: dict[bytes, int] = {}
        result = np.full(len(self.store), -1, np.int32)
        for start in range(0, len(self.store), BLOCK):
            stop = min(start + BLOCK, len(self.store))
            paths, sources = (self.store.texts(f"images/{c}", start, stop) for c in ("path", "source"))
            result[start:stop] = [
                numbers.setdefault(source, len(numbers)) if path else -1
                for path, source in zip(paths, sources, strict=True)
            ]
        return result, list(numbers)

    @cached_property
    def live(self) -> np.ndarray:
        """(N,) bool: which rows some file still holds."""
        return self.places[0] >= 0

    def passing(self, filters: Filters) -> np.ndarray:
        """The live rows that are pictures and pass the filters, sorted. Raises QueryError."""

        def pass_them() -> np.ndarray:
            return np.flatnonzero(allowed_rows(self.store, filters) & (self.store.widths > 0))

        return self._once(("filters", filters, filters.stamp(self.store)), pass_them)

    def facets(self) -> Facets:
        """What of its columns can be picked from. Raises StoreDamaged."""
        with self._guards["facets"]:
            return self._facets

    @cached_property
    def _facets(self) -> Facets:
        return facets_of(self.store, self.passing(Filters()))

    def clusters(self) -> Clusters | None:
        """The clusters of its pictures; None where the store has none. Raises StoreDamaged."""
        with self._guards["clusters"]:
            return self._clusters

    @cached_property
    def _clusters(self) -> Clusters | None:
        return clusters_of(self.store, self.passing(Filters()))

    def rows_with(self, model: str) -> np.ndarray:
        """The live rows that have a vector of `model`, sorted. Raises UnknownModel."""
        return np.flatnonzero(self.store[model].embedded & self.live)

    def map(self, model: str) -> Map:
        """The map by `model`. Raises UnknownModel."""
        return self._once(("map", model), lambda: project(self.store[model], self.rows_with(model)))

    def duplicates(self, model: str, threshold: float) -> Duplicates:
        """The groups by `model` at a cosine of `threshold`. Raises UnknownModel."""
        return self._once(
            ("duplicates", model, threshold),
            lambda: near_duplicates(self.store[model], self.rows_with(model), threshold=threshold),
        )

    def _once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What is there already is had without waiting for anybody."""
        made: Made | None = self._made.get(key)
        if made is not None:
            return made
        with self._guards[key[0]]:
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = make()
                for oldest in list(self._made)[:-_KEPT]:
                    self._made.pop(oldest, None)
            return made


class Newest:
    """The newest snapshot that a searcher sees, so that what is found and what is shown are of one."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._guard = threading.Lock()
        self._snapshot = Snapshot(searcher.store)

    def __call__(self) -> Snapshot:
        """The newest snapshot. Raises StoreError where there is no store any more."""
        try:
            store = self._searcher.store
        except FileNotFoundError as error:
            raise StoreError(f"Expected a store in {self.folder}. It is not there any more.") from error
        with self._guard:
            if store is not self._snapshot.store:
                self._snapshot = Snapshot(store)
            return self._snapshot

    @property
    def folder(self) -> Path:
        """Where the store is."""
        return self._snapshot.store.folder

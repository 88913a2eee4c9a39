"""Searching a store: terms, filters and a model in, hits out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import NoTextTower, QueryError
from pixelmill.search.encoder import Encoder, Load, QueryEncoder, Weights, from_catalog
from pixelmill.search.filters import Filters, allowed_rows, notes_for
from pixelmill.search.index_files import read_description
from pixelmill.search.norms import Norms
from pixelmill.search.notes import left_behind, through
from pixelmill.search.places import Place, places_of
from pixelmill.search.projection import BACKEND, LocalEncoder, ProjectedEncoder, understands_words
from pixelmill.search.query import Query, Row, Term, Text, query_for
from pixelmill.search.ranking import Nearest, Ranked, scoring
from pixelmill.search.where import files_where
from pixelmill.store.manifest import Provenance
from pixelmill.store.master import MASTER
from pixelmill.store.reader import Ensemble, MatrixView, Store

if TYPE_CHECKING:
    from pixelmill.models.base import ModelSpec
    from pixelmill.search.ann import Approximate

_FILTERS_KEPT = 16
_WORTH_AN_INDEX = 0.1
"""Least share of the rows that filters leave for an index to be used: it finds few of what is rare."""
COUNTED: Final = 5_000
"""Rows of a least score that are counted."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: the row, where its file is, the cosine to the query, size in pixels, and rows that look the same.

    `places` are all files that hold the content, to the last byte, the one of `source` and `path` first.
    """

    row: int
    path: str
    source: str
    score: float
    width: int
    height: int
    copies: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()

    @property
    def absolute(self) -> str:
        """The file."""
        return os.path.join(self.source, self.path)  # noqa: PTH118 - may hold surrogates


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave, best first; by which models; and what the person who asked should know. `best` is the score
    of the nearest row, be it a hit or not; with a least score, `reach` is how many rows have that, COUNTED at most."""

    models: tuple[str, ...]
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    best: float | None = None
    reach: int | None = None

    @property
    def model(self) -> str:
        """The models' names in one word."""
        return "+".join(self.models)


class Searcher:
    """Searches the newest snapshot of the store in a folder, or one that is given. Safe to use from many threads.

    `find` gives the spec of a model by name and `cache` its weights; both are asked only for words and pictures, and
    what they lead to must be what made the matrix (see `QueryEncoder`). `device` is where the models run, which `load`
    loads. With `asks`, a running `pixelmill serve` that has a model in memory is asked first (see `AskingEncoder`).
    """

    def __init__(
        self, store: str | Path | Store, *, find: Callable[[str], ModelSpec] = from_catalog, cache: Weights,
        device: str = "cpu", asks: bool = False, load: Load | None = None,
    ) -> None:  # fmt: skip
        self.device, self._asks = device, asks
        self._encode = partial(QueryEncoder, find=find, cache=cache, device=device, load=load)
        self._lock = threading.Lock()
        self._norms = Norms()
        self._encoders: dict[str, LocalEncoder] = {}
        self._indexes: dict[str, tuple[tuple[str, int], Approximate | None]] = {}
        self._passing: dict[tuple[Filters, object], NDArray[np.bool_]] = {}
        self._follows = not isinstance(store, Store)
        self._store = store if isinstance(store, Store) else Store(store)
        self._stamp = _stamp(self._store)

    @property
    def store(self) -> Store:
        """The snapshot that is searched."""
        if not self._follows:
            return self._store
        with self._lock:
            if (stamp := _stamp(self._store)) != self._stamp:
                self._store, self._stamp = Store(self._store.folder), stamp
                self._passing.clear()
                self._norms.keep([self._store[model] for model in self._store.models])
            return self._store

    def search(
        self, terms: Sequence[Term], k: int = 10, filters: Filters = Filters(), *,  # noqa: B008 - frozen
        models: Sequence[str] = (), weights: Sequence[float] | None = None, copies: bool = False,
        exact: bool = False, min_score: float | None = None,
    ) -> Found:  # fmt: skip
        """The `k` rows nearest to the sum of the terms, in the space of one model or of several side by side.

        Without `models`: the one that `default_model` chooses; the name of an ensemble that the store keeps stands for
        its models. An index is used where there is one, unless `exact`; the notes say so. The score is the cosine; of
        several models, that of the vectors as `export --normalize --weights` puts them side by side. Rows whose file
        is gone, and rows among the terms that are added, never appear; what looks the same as a better hit is listed
        with that one, unless `copies`. Of `min_score` no row appears that has a lower one.
        """
        if min_score is not None and not -1 <= min_score <= 1:
            raise QueryError(f"Expected a least score from -1 to 1, as cosines are. Got {min_score}.")
        store = self.store
        names = tuple(models) or (default_model(store, terms),)
        matrix = store.concatenated(names, weights=weights, normalize=True)
        query = self._query(terms, matrix)
        k = max(1, min(k, len(store)))  # room is made for each
        allowed = self._allowed(store, filters)
        allowed[[term.row for term in terms if isinstance(term, Row) and term.weight > 0]] = False
        index = None if exact else self._index(matrix, allowed)
        nearest = Nearest(matrix, query.vector, allowed, self._norms, index)
        reach = None if min_score is None else len(scoring(min_score, nearest.rows(max(1, min(COUNTED, len(store))))))
        hits = nearest.rows(k) if copies else nearest.distinct(k)
        return Found(
            tuple(m.provenance.model for m in matrix.members), _hits(store, scoring(min_score, hits), filters),
            (
                *query.notes, *(through(index) if index else left_behind(matrix)),
                *notes_for(store, filters),
            ),
            hits[0][1] if hits else None, reach,
        )  # fmt: skip

    def vector(self, terms: Sequence[Term], models: Sequence[str], weights: Sequence[float] | None = None) -> Query:
        """The unit vector that a search for `terms` would use, over the models side by side."""
        return self._query(terms, self.store.concatenated(models, weights=weights, normalize=True))

    def release_models(self) -> None:
        """Forget the models that encode queries; the next one loads its own anew."""
        with self._lock:
            self._encoders.clear()

    def _index(self, matrix: Ensemble, allowed: NDArray[np.bool_]) -> Approximate | None:
        """The index of the one model that is searched, unless so few rows may appear that comparing all is quick."""
        if len(matrix.members) > 1 or allowed.sum() < _WORTH_AN_INDEX * len(allowed):
            return None
        view = matrix.members[0]
        described = read_description(view.store, view.provenance)
        if described is None:
            return None
        from pixelmill.search.ann import open_index

        key, fingerprint = (described.file, view.store.manifest.revision), described.fingerprint
        with self._lock:
            if self._indexes.get(fingerprint, ((), None))[0] != key:
                self._indexes[fingerprint] = (key, open_index(view, self._norms))
            return self._indexes[fingerprint][1]

    def _allowed(self, store: Store, filters: Filters) -> NDArray[np.bool_]:
        """The caller's own mask of rows that pass, which are remembered until they may be others."""
        key = (filters, filters.stamp(store))
        with self._lock:
            known = self._passing.get(key) if store is self._store else None
        if known is None:
            known = allowed_rows(store, filters)
            with self._lock:
                if len(self._passing) >= _FILTERS_KEPT:
                    self._passing.clear()
                if store is self._store:
                    self._passing[key] = known
        return known.copy()

    def _query(self, terms: Sequence[Term], matrix: Ensemble) -> Query:
        """By each member with its own encoder, weighted as the rows are."""
        mute = [m.provenance.model for m in matrix.members if not understands_words(m.provenance)]
        if mute and any(isinstance(term, Text) for term in terms):
            raise _no_text(matrix.members[0].store, mute)
        parts = [query_for(terms, view, self._encoder(view.provenance)) for view in matrix.members]
        vector = np.concatenate([part.vector * weight for part, weight in zip(parts, matrix.weights, strict=True)])
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        return Query((vector / np.linalg.norm(vector)).astype(np.float32), tuple(notes))

    def encoder(self, fingerprint: str) -> LocalEncoder | None:
        """The encoder of queries of the matrix with that fingerprint, if the store serves it."""
        served = (self.store[model].provenance for model in self._store.models)
        return next((self._own(made) for made in served if made.fingerprint == fingerprint), None)

    def _encoder(self, made: Provenance) -> Encoder:
        own = self._own(made)
        if not self._asks:
            return own
        from pixelmill.search.warm import AskingEncoder

        return AskingEncoder(own, made, self._store.manifest.store_id, self.device)

    def _own(self, made: Provenance) -> LocalEncoder:
        with self._lock:
            if made.fingerprint not in self._encoders:
                is_projected = made.backend == BACKEND
                own = ProjectedEncoder(self._store.folder, made, self._own) if is_projected else self._encode(made)
                self._encoders[made.fingerprint] = own
            return self._encoders[made.fingerprint]


def default_model(store: Store, terms: Sequence[Term]) -> str:
    """The store's model that covers most of its rows, among those that understand words if there are any in `terms`.

    Raises NoTextTower where none does, QueryError where the store has no model at all.
    """
    views = [store[model] for model in store.models]
    if not views:
        raise QueryError(f"Expected vectors in {store.folder}. Found none: `pixelmill run` makes them.")
    fitting = [view for view in views if understands_words(view.provenance)]
    if any(isinstance(term, Text) for term in terms):
        if not fitting:
            raise _no_text(store, store.models)
        views = fitting
    best: MatrixView = max(views, key=lambda view: (view.embedded.sum(), *_preference(view.provenance)))
    return best.provenance.model


def _preference(made: Provenance) -> tuple[bool, bool]:
    """Of matrices that cover as much: rather a model's own than a projection, rather one that understands words."""
    return made.backend != BACKEND, understands_words(made)


def _no_text(store: Store, asked: Sequence[str]) -> NoTextTower:
    able = [model for model in store.models if understands_words(store[model].provenance)]
    told = f"In this store these do: {', '.join(able)}." if able else (
        "No model of this store does; `pixelmill run --models openai_clip_vit_b32` adds one."
    )  # fmt: skip
    return NoTextTower(
        f"Expected a model that understands words. {' and '.join(asked)} {'knows' if len(asked) == 1 else 'know'} "
        f"pictures only. {told}"
    )


def _hits(store: Store, ranked: Sequence[Ranked], filters: Filters) -> tuple[Hit, ...]:
    rows = [row for row, _, _ in ranked]
    rather = files_where(store, filters.where, rows) if filters.where is not None else ()
    places = places_of(store, rows, filters.globs, rather=rather)
    return tuple(
        Hit(
            row, places[row][0].path, places[row][0].source, score,
            int(store.widths[row]), int(store.heights[row]), copies, places[row],
        )
        for row, score, copies in ranked
    )  # fmt: skip


def _stamp(store: Store) -> tuple[int, int, int]:
    """What changes when another snapshot is published."""
    found = (store.folder / MASTER).stat()
    return found.st_ino, found.st_mtime_ns, found.st_size

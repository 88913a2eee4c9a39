"""An approximate index for millions of rows: inverted lists of faiss, grown by the rows that came since.

Vectors are kept at length 1 in 8 bits a number, in lists around centres that k-means chose. A search looks into the
lists whose centres are nearest to the query, takes more candidates than it was asked for, and compares these exactly
with the stored vectors. What the index does not hold yet is compared exactly beside it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import NoIndex, TooFewVectors
from pixelmill.search.exact import cosines, members_of, top_k
from pixelmill.search.index_files import (
    Described,
    folder_of,
    forget_dropped,
    lock,
    packed,
    publish_index,
    read_description,
)
from pixelmill.search.norms import Norms
from pixelmill.store.reader import BLOCK, MatrixView, Store

RECALL: Final = 0.95
"""Share of the ten nearest that an index is set to find."""
_K: Final = 10
_ASKED: Final = 200
_CANDIDATES: Final = 4
_A_LIST: Final = 40
"""Least vectors a list for k-means: faiss warns below 39."""
_TRAINED_WITH: Final = 64
_GROWTH: Final = 4
"""How many times as many rows as when its lists were chosen make an index be made anew."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What `update_index` did: rows in the index now, rows added, whether all was made anew, and the recall at 10."""

    model: str
    rows: int
    added: int
    anew: bool
    recall: float


def update_index(folder: Path, model: str) -> Indexed:
    """Bring the index of a model level with the store: add what is new, or make it if there is none.

    Raises UnknownModel for a model without vectors, TooFewVectors for fewer rows than an index is of use for, and
    NoIndex without faiss, where one is.
    """
    store = Store(folder)
    view = store[model]
    with lock(store):
        forget_dropped(store)
        before = read_description(store, view.provenance)
        held = int(view.embedded.sum())
        if held < _A_LIST:
            raise TooFewVectors(f"Expected at least {_A_LIST} vectors of {model} for an index. Found {held}.")
        faiss = _faiss()
        anew = before is None or held > _GROWTH * before.trained_rows
        covered = np.zeros(len(store), dtype=bool)
        if before is not None and not anew:
            covered[: before.rows] = before.covered_rows
        missing = view.embedded & ~covered
        if before is not None and not anew and not missing.any():
            return Indexed(model, int(covered.sum()), 0, False, before.recall[before.looked_into])
        index = _trained(faiss, view) if before is None or anew else _read(faiss, folder_of(store) / before.file)
        for rows, vectors in _units(view, missing):
            index.add_with_ids(vectors, rows)
        trained = held if before is None or anew else before.trained_rows
        described = _published(faiss, view, index, covered | missing, trained)
    return Indexed(model, described_rows(described), int(missing.sum()), anew, described.recall[described.looked_into])


def described_rows(described: Described) -> int:
    """How many rows an index holds."""
    return int(described.covered_rows.sum())


class Approximate:
    """Searches one matrix through its index. Safe to use from many threads."""

    def __init__(self, view: MatrixView, described: Described, index: Any, norms: Norms) -> None:
        self.described = described
        self._view, self._index, self._norms = view, index, norms
        self._covered = np.zeros(len(view), dtype=bool)
        self._covered[: described.rows] = described.covered_rows

    @property
    def uncovered(self) -> NDArray[np.bool_]:
        """(N,) bool: rows with a vector that came after the index."""
        return self._view.embedded & ~self._covered

    def top_k(
        self, query: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_], looked_into: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `exact.top_k` of one query (dim,), but rows of the index may be missed: rows and cosines (1, k)."""
        covered = self._candidates(query, k, allowed & self._covered, looked_into or self.described.looked_into)
        beside, _ = top_k(self._view, query[None], k, allowed=allowed & self.uncovered, norms=self._norms)
        rows = np.concatenate([covered, beside[0][beside[0] >= 0]])
        exact = cosines(members_of(self._view), rows, query)
        rows, exact = rows[~np.isnan(exact)], exact[~np.isnan(exact)]
        order = np.lexsort((rows, -exact))[:k]
        found, scores = np.full((1, k), -1, np.int64), np.full((1, k), np.nan, np.float32)
        found[0, : len(order)], scores[0, : len(order)] = rows[order], exact[order]
        return found, scores

    def _candidates(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], looked_into: int
    ) -> NDArray[np.int64]:
        faiss = _faiss()
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        how = faiss.SearchParametersIVF(sel=selector, nprobe=looked_into)
        _, rows = self._index.search(np.ascontiguousarray(query[None]), _CANDIDATES * k, params=how)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found


def open_index(view: MatrixView, norms: Norms) -> Approximate | None:
    """The index of a matrix, mapped into memory; None if there is none, or no faiss to read it."""
    described = read_description(view.store, view.provenance)
    if described is None:
        return None
    try:
        import faiss

        path = folder_of(view.store) / described.file
        return Approximate(view, described, faiss.read_index(str(path), faiss.IO_FLAG_MMAP), norms)
    except (ImportError, RuntimeError):
        return None


def _trained(faiss: Any, view: MatrixView) -> Any:
    """An empty index with lists chosen from a sample."""
    rows = np.flatnonzero(view.embedded)
    lists = max(1, min(int(math.sqrt(len(rows))), len(rows) // _A_LIST))
    sample = np.random.default_rng(0).permutation(rows)[: max(_TRAINED_WITH * lists, 4096)]
    dim = view.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(_unit(view.take(np.sort(sample))))
    return index


def _read(faiss: Any, path: Path) -> Any:
    return faiss.read_index(str(path))


def _units(view: MatrixView, wanted: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    for start in range(0, len(view), BLOCK):
        rows = start + np.flatnonzero(wanted[start : start + BLOCK])
        if len(rows):
            yield rows, _unit(view.take(rows))


def _unit(vectors: np.ndarray) -> NDArray[np.float32]:
    values = vectors.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.ascontiguousarray(values / np.where(lengths == 0, 1, lengths))


def _published(faiss: Any, view: MatrixView, index: Any, covered: NDArray[np.bool_], trained: int) -> Described:
    store, made, content = view.store, view.provenance, faiss.serialize_index(index)
    described = Described(
        store_id=store.manifest.store_id, model=made.model, fingerprint=made.fingerprint,
        revision=store.manifest.revision, file=f"{made.fingerprint[:16]}-{secrets.token_hex(4)}.faiss",
        bytes=len(content), rows=len(covered), covered=packed(covered), trained_rows=trained, lists=index.nlist,
        looked_into=1, recall={},
    )  # fmt: skip
    recall = measured_recall(Approximate(view, described, index, Norms()), view, covered)
    described = described.model_copy(update={"recall": recall, "looked_into": max(recall)})
    publish_index(store, memoryview(content), described)
    return described


def measured_recall(index: Approximate, view: MatrixView, covered: NDArray[np.bool_]) -> dict[int, float]:
    """Share of the ten nearest neighbours of sample rows that are found, by lists looked into, doubled until enough."""
    live = covered & view.store.present
    chosen = np.random.default_rng(1).permutation(np.flatnonzero(live if live.any() else covered))[:_ASKED]
    queries = _unit(view.take(chosen))
    exact, _ = top_k(view, queries, _K + 1, allowed=covered)
    result: dict[int, float] = {}
    looked_into = 1
    while True:
        found = [index.top_k(q, _K + 1, allowed=covered, looked_into=looked_into)[0][0] for q in queries]
        result[looked_into] = _share(exact, found, chosen)
        if result[looked_into] >= RECALL or looked_into >= index.described.lists:
            return result
        looked_into = min(2 * looked_into, index.described.lists)


def _share(exact: np.ndarray, found: list[np.ndarray], chosen: np.ndarray) -> float:
    """Without the row that was asked for, which is trivially found."""
    shares = []
    for wanted, got, own in zip(exact, found, chosen, strict=True):
        truth = [row for row in wanted.tolist() if row not in (own, -1)][:_K]
        shares.append(len(set(truth) & set(got.tolist())) / max(len(truth), 1))
    return float(np.mean(shares))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise NoIndex("Expected faiss for an index. It is not installed: `pip install 'pixelmill[faiss]'`.") from error
    return faiss

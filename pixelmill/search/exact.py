"""The rows nearest to a query, exactly: blocks of the parts' memory maps, in place, by all cores."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.search.best import Best
from pixelmill.search.kernels import FEW, Kernel, compute_alone, kernel_for
from pixelmill.search.norms import Norms
from pixelmill.store.extents import Extent, clipped
from pixelmill.store.reader import Ensemble, MatrixView

Float32 = NDArray[np.float32]

BLOCK: Final = 16_384
"""Rows that are looked at together: with fewer, Python's share of the time shows (6% at 4,096)."""
_RESCORED: Final = 16_384


def top_k(
    matrix: MatrixView | Ensemble,
    queries: np.ndarray,
    k: int,
    *,
    allowed: np.ndarray | None = None,
    norms: Norms | None = None,
) -> tuple[NDArray[np.int64], Float32]:
    """The `k` rows of greatest cosine to each query, best first, the lower row first where two are equal.

    `queries` is float32 (Q, dim); all are answered in one pass. `allowed` is bool (N,): other rows do not appear, nor
    do rows without a vector, or with a vector of length 0. Gives rows int64 and cosines float32, both (Q, k); -1 and
    NaN where there are fewer rows. `norms` remembers the lengths of stored vectors from call to call.

    Blocks are compared in the matrix' own dtype; what comes within the error of that of the best `k` is compared
    again in float64, so that the result is that of exact arithmetic.
    """
    scan = _Scan(members_of(matrix), np.asarray(queries, np.float32), k, allowed, norms or Norms())
    return scan.result()


def members_of(matrix: MatrixView | Ensemble) -> list[Member]:
    """The matrices that make up a matrix, each with its weight in the sum of cosines."""
    if isinstance(matrix, MatrixView):
        return [Member(matrix, 0, 1.0, normalized=True)]
    starts = np.cumsum([0, *(view.shape[1] for view in matrix.members)])
    return [
        Member(view, int(start), weight, normalized=matrix.normalize)
        for view, start, weight in zip(matrix.members, starts, matrix.weights, strict=False)
    ]


@dataclass(frozen=True, slots=True)
class Member:
    """One matrix of what is searched: its first column there, its weight, whether its rows count as unit vectors."""

    view: MatrixView
    column: int
    weight: float
    normalized: bool

    def of(self, queries: Float32) -> Float32:
        """The member's share of whole queries."""
        return np.ascontiguousarray(queries[:, self.column : self.column + self.view.shape[1]])


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows `start` to `stop`, which every member has: their vectors and lengths, by member."""

    start: int
    stop: int
    vectors: tuple[np.ndarray, ...]
    norms: tuple[Float32, ...]


class _Scan:
    """One pass over a matrix for some queries."""

    def __init__(
        self, members: Sequence[Member], queries: Float32, k: int, allowed: np.ndarray | None, norms: Norms
    ) -> None:
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        self._members, self._allowed, self._norms, self._k = members, allowed, norms, k
        self._queries: Float32 = (queries / np.where(lengths == 0, 1, lengths)).astype(np.float32)
        self._kernels: list[Kernel] = [kernel_for(m.of(self._queries), m.view.dtype) for m in members]
        self._slack = sum(kernel.error for kernel in self._kernels)

    def result(self) -> tuple[NDArray[np.int64], Float32]:
        found = self._candidates()
        rows = np.full((len(self._queries), self._k), -1, np.int64)
        scores = np.full(rows.shape, np.nan, np.float32)
        for query, candidates in enumerate(found.by_query()):
            exact = self._cosines(candidates, self._queries[query])
            order = np.lexsort((candidates, -exact))[: self._k]
            rows[query, : len(order)], scores[query, : len(order)] = candidates[order], exact[order]
        return rows, scores

    def _candidates(self) -> Best:
        """The rows that may be among the best, found by as many threads as there are cores."""
        waiting = deque(self._blocks())
        threads = max(1, min(len(os.sched_getaffinity(0)), len(waiting)))
        if threads == 1:
            return self._work(waiting)
        by_torch = len(self._queries) > FEW
        with ThreadPoolExecutor(threads, "search", compute_alone if by_torch else None) as pool:
            found = list(pool.map(lambda _: self._work(waiting), range(threads)))
        return found[0].with_others(found[1:])

    def _work(self, waiting: deque[_Block]) -> Best:
        best = Best(len(self._queries), self._k, 2 * self._slack)
        while waiting:
            try:
                block = waiting.popleft()
            except IndexError:  # another thread took the last one
                break
            best.add(block.start, self._scores(block))
        return best

    def _scores(self, block: _Block) -> Float32:
        """Cosines (rows, Q) by the kernels; NaN for rows that must not appear."""
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [
                kernel.dots(vectors) * scale[:, None]
                for kernel, vectors, scale in zip(self._kernels, block.vectors, self._scales(block.norms), strict=True)
            ]
        scores = parts[0]
        for part in parts[1:]:
            scores += part
        if self._allowed is not None:
            scores[~self._allowed[block.start : block.stop]] = np.nan
        return scores

    def _scales(self, norms: Sequence[Float32]) -> list[Float32]:
        """What each member's dot products are multiplied by: weights over lengths."""
        return scales(self._members, norms)

    def _cosines(self, rows: NDArray[np.int64], query: Float32) -> NDArray[np.float64]:
        """In float64, of chosen rows."""
        some = range(0, len(rows), _RESCORED)
        return np.concatenate([np.empty(0), *(cosines(self._members, rows[i : i + _RESCORED], query) for i in some)])

    def _blocks(self) -> Iterator[_Block]:
        for start, stop, cuts in _common([member.view.matrix.extents for member in self._members]):
            if self._allowed is not None and not self._allowed[start:stop].any():
                continue
            views = [member.view for member in self._members]
            arrays = [view.store.parts.array(cut, view.matrix.vectors) for view, cut in zip(views, cuts, strict=True)]
            norms = [self._norms.of(view, cut) for view, cut in zip(views, cuts, strict=True)]
            for at in range(0, stop - start, BLOCK):
                here = slice(at, min(at + BLOCK, stop - start))
                if self._allowed is not None and not self._allowed[start + at : start + here.stop].any():
                    continue
                yield _Block(
                    start + at, start + here.stop, tuple(a[here] for a in arrays), tuple(n[here] for n in norms)
                )


def cosines(members: Sequence[Member], rows: np.ndarray, query: Float32) -> NDArray[np.float64]:
    """The cosines of some rows to one unit query (dim,), in float64; NaN for rows without a vector."""
    taken = [member.view.take(rows).astype(np.float64) for member in members]
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = scales(members, [np.linalg.norm(vectors, axis=1) for vectors in taken])
        dots = [vectors @ member.of(query[None])[0] for member, vectors in zip(members, taken, strict=True)]
        total: NDArray[np.float64] = sum(dot * factor for dot, factor in zip(dots, factors, strict=True))
    return total / np.linalg.norm(query.astype(np.float64))


def scales(members: Sequence[Member], norms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What each member's dot products are multiplied by, so that their sum is the cosine to the row as exported.

    Of unit vectors weighted by w, side by side, the length is the root of the sum of the squares of the weights;
    of others it is that of the weighted rows together.
    """
    weights = [member.weight for member in members]
    if all(member.normalized for member in members):
        whole = float(np.sqrt(sum(w * w for w in weights)))
        return [(w / whole) / n for w, n in zip(weights, norms, strict=True)]
    lengths = np.sqrt(sum((w * n) ** 2 for w, n in zip(weights, norms, strict=True)))
    return [w / lengths for w in weights]


def _common(extents: Sequence[Sequence[Extent]]) -> Iterator[tuple[int, int, list[Extent]]]:
    """The runs of rows that every member has, each with the members' extents of it."""
    first, *others = extents
    for extent in first:
        runs = [(extent.row, extent.end, [extent])]
        for other in others:
            runs = [
                (piece.row, piece.end, [*(cut.cut(piece.row, piece.end) for cut in cuts), piece])
                for start, stop, cuts in runs
                for piece in clipped(other, start, stop)
            ]
        yield from runs

"""The best rows so far of a scan whose scores have a known error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class Best:
    """For each of so many queries: the rows whose scores lie within `slack` of the `k` best, and maybe a few more."""

    def __init__(self, queries: int, k: int, slack: float) -> None:
        self._k, self._slack = k, np.float32(slack)
        self._floors = np.full(queries, -np.inf, np.float32)
        self._query: list[NDArray[np.int64]] = []
        self._row: list[NDArray[np.int64]] = []
        self._score: list[NDArray[np.float32]] = []
        self._held, self._room = 0, 0

    def add(self, start: int, scores: NDArray[np.float32]) -> None:
        """Scores (rows, queries) of the rows from `start` on; a NaN is never kept."""
        rows, queries = np.nonzero(scores >= self._floors)
        if not len(rows):
            return
        self._keep(queries, rows + start, scores[rows, queries])
        if self._held > self._room:
            self._prune()

    def with_others(self, others: Sequence[Best]) -> Best:
        """The best of all."""
        for other in others:
            for query, row, score in zip(other._query, other._row, other._score, strict=True):
                self._keep(query, row, score)
        self._prune()
        return self

    def by_query(self) -> Iterator[NDArray[np.int64]]:
        """The rows for each query, in no order."""
        self._prune()
        for query in range(len(self._floors)):
            yield self._row[0][self._query[0] == query]

    def _keep(self, queries: NDArray[np.int64], rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        self._query.append(queries)
        self._row.append(rows)
        self._score.append(scores)
        self._held += len(rows)

    def _prune(self) -> None:
        """Drop what the best `k` of each query leave behind."""
        empty = np.empty(0, np.int64)
        query, row = np.concatenate([empty, *self._query]), np.concatenate([empty, *self._row])
        score = np.concatenate([np.empty(0, np.float32), *self._score])
        for one in np.unique(query):
            own = score[query == one]
            if len(own) >= self._k > 0:
                self._floors[one] = np.partition(own, len(own) - self._k)[len(own) - self._k] - self._slack
        kept = score >= self._floors[query]
        self._query, self._row, self._score = [query[kept]], [row[kept]], [score[kept]]
        self._held = int(kept.sum())
        self._room = 2 * self._held + 64 * len(self._floors)

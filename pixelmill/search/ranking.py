"""The rows nearest to one query, ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pixelmill.search.collapse import collapse
from pixelmill.search.exact import members_of, top_k
from pixelmill.search.norms import Norms
from pixelmill.store.reader import Ensemble

if TYPE_CHECKING:
    from pixelmill.search.ann import Approximate

Ranked = tuple[int, float, tuple[int, ...]]
"""A row, its cosine, and the rows that look the same."""


class Nearest:
    """The rows nearest to one unit query, more of them when asked for more."""

    def __init__(
        self, matrix: Ensemble, query: NDArray[np.float32], allowed: NDArray[np.bool_], norms: Norms,
        index: Approximate | None,
    ) -> None:  # fmt: skip
        self._matrix, self._query, self._allowed, self._norms, self._index = matrix, query, allowed, norms, index
        self._asked, self._known = 0, list[Ranked]()

    def rows(self, k: int) -> list[Ranked]:
        """The `k` nearest, each by itself."""
        if k > self._asked:
            self._asked, self._known = k, self._nearest(k)
        return self._known[:k]

    def _nearest(self, k: int) -> list[Ranked]:
        if self._index:
            rows, scores = self._index.top_k(self._query, k, allowed=self._allowed)
        else:
            rows, scores = top_k(self._matrix, self._query[None], k, allowed=self._allowed, norms=self._norms)
        return [(int(r), float(s), ()) for r, s in zip(rows[0], scores[0], strict=True) if r >= 0]

    def distinct(self, k: int) -> list[Ranked]:
        """The `k` nearest that look different, each with the near rows that look like it."""
        members, asked = members_of(self._matrix), 2 * k + 8
        while True:
            nearest = self.rows(asked)
            scores = {row: score for row, score, _ in nearest}
            groups = collapse(members, np.array(list(scores), np.int64))
            if len(groups) >= k or len(nearest) < asked:
                return [(row, scores[row], tuple(same)) for row, same in list(groups.items())[:k]]
            asked *= 4


def scoring(least: float | None, ranked: list[Ranked]) -> list[Ranked]:
    """Those that have a score, or more; all, where it is None."""
    return ranked if least is None else [one for one in ranked if one[1] >= least]

"""The lengths of stored vectors, which cosines need: computed once a part, as parts never change."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.store.extents import Extent
from pixelmill.store.reader import MatrixView

_BLOCK: Final = 4096


class Norms:
    """L2 norms of rows, float32, kept in memory by part: 4 bytes a row. Safe to use from many threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int, int], NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def of(self, view: MatrixView, extent: Extent) -> NDArray[np.float32]:
        """The norms (rows,) of the vectors of `view` that lie in `extent`; NaN where there is none."""
        key = (extent.part, view.matrix.vectors, extent.offset, extent.rows)
        with self._lock:
            if key not in self._known:
                self._known[key] = _norms(view.store.parts.array(extent, view.matrix.vectors))
            return self._known[key]

    def keep(self, views: list[MatrixView]) -> None:
        """Forget what none of `views` uses any more."""
        used = {(e.part, v.matrix.vectors) for v in views for e in v.matrix.extents}
        with self._lock:
            self._known = {key: norms for key, norms in self._known.items() if key[:2] in used}


def _norms(vectors: np.ndarray) -> NDArray[np.float32]:
    from pixelmill.search.kernels import in_parallel, squares

    result = np.empty(len(vectors), np.float32)

    def fill(start: int) -> None:
        result[start : start + _BLOCK] = np.sqrt(squares(vectors[start : start + _BLOCK]))

    in_parallel(fill, range(0, len(vectors), _BLOCK))
    return result

"""What rows a LanceDB table holds, read some blocks ahead: who asks for one is likely to ask for the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from pixelmill.deliver import base
from pixelmill.deliver.base import Held, Rows

BLOCKS: Final = 16
NOTHING: Final = Held(np.empty(0, np.int64), np.empty(0, np.int64))


class Ahead:
    """Rows from `first` to before `last`, as they are, as long as who writes says so."""

    def __init__(self) -> None:
        self._first = self._last = 0
        self._held = NOTHING

    def forget(self) -> None:
        self._first = self._last = 0
        self._held = NOTHING

    def wrote(self, rows: Rows) -> None:
        """Rows were written or deleted: what is known is true behind their block."""
        self._first = max(self._first, (int(rows.max()) // base.BLOCK + 1) * base.BLOCK)

    def held(self, start: int, stop: int, read: Callable[[int, int], Held]) -> Held:
        """The rows from `start` to before `stop`."""
        if not self._first <= start < stop <= self._last:
            self._first, self._last = start, max(stop, start + BLOCKS * base.BLOCK)
            self._held = read(self._first, self._last)
        chosen = (self._held.rows >= start) & (self._held.rows < stop)
        return Held(self._held.rows[chosen], self._held.digests[chosen])

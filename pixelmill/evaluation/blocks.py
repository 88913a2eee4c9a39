"""Blocks of queries, so many that what is held of them stays the same however much there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_CELLS: Final = 2**23
"""Numbers that are held of a block: 32 MB as float32."""


def blocks_of(queries: int, cells: int) -> Iterator[slice]:
    """Slices over `queries`, each of which holds `cells` numbers."""
    size = max(1, _CELLS // max(1, cells))
    return (slice(start, min(start + size, queries)) for start in range(0, queries, size))

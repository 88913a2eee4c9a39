"""Pictures that are the same but for their encoding count as one result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.search.exact import Member, scales

SAME: Final = 0.9995
"""Least cosine of two pictures that count as one: exports, re-encoded and resized copies (docs/search.md)."""


def collapse(members: Sequence[Member], rows: NDArray[np.int64]) -> dict[int, list[int]]:
    """The rows, best first, that are no copy of a better one; with each, the rows that are its copies."""
    vectors = _units(members, rows)
    kept: list[int] = []
    copies: dict[int, list[int]] = {}
    for at, row in enumerate(rows.tolist()):
        alike = vectors[kept] @ vectors[at] if kept else np.empty(0)
        if len(alike) and alike.max() >= SAME:
            copies[int(rows[kept[int(alike.argmax())]])].append(row)
        else:
            kept.append(at)
            copies[row] = []
    return copies


def _units(members: Sequence[Member], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Unit vectors of some rows, side by side as they would be exported."""
    taken = [member.view.take(rows).astype(np.float32) for member in members]
    factors = scales(members, [np.linalg.norm(vectors, axis=1) for vectors in taken])
    side_by_side: NDArray[np.float32] = np.hstack(
        [vectors * factor[:, None].astype(np.float32) for vectors, factor in zip(taken, factors, strict=True)]
    )
    return side_by_side

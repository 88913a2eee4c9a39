"""Images that look almost the same, in groups. Exact copies are one row already, and never two members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixelmill.store.reader import MatrixView
from pixelmill.web.vectors import BLOCK, blocks, newest

MOST = 20_000
"""Images that are compared with each other: about 0.5 TFLOP at 1280 dims. Of more, those that came last."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that look alike, the oldest first, and the cosine of each to that one."""

    rows: tuple[int, ...]
    similarities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The groups, largest first; how many images were compared, `of` how many."""

    groups: tuple[Group, ...]
    compared: int
    of: int


def near_duplicates(view: MatrixView, rows: np.ndarray, *, threshold: float, most: int = MOST) -> Duplicates:
    """Groups of `rows` (those with a vector) whose cosine is at least `threshold`.

    Each image goes with the oldest one that it is so similar to, and with whatever that one goes with. Every pair of
    those compared is looked at, in blocks.
    """
    compared = newest(rows, most)
    unit = np.concatenate([np.zeros((0, view.shape[1]), np.float32), *blocks(view, compared)])
    first = np.arange(len(unit))
    for start in range(0, len(unit), BLOCK):
        stop = min(start + BLOCK, len(unit))
        alike = np.tril(unit[start:stop] @ unit[:stop].T >= threshold, k=start - 1)  # with older ones only
        found = np.flatnonzero(alike.any(axis=1))
        first[start + found] = alike[found].argmax(axis=1)
    groups = [_group(members, unit, compared) for members in _members(first)]
    return Duplicates(tuple(sorted(groups, key=lambda g: (-len(g.rows), g.rows))), len(compared), len(rows))


def _members(first: np.ndarray) -> list[list[int]]:
    """The groups of two and more, of (N,) which older one each goes with, itself if none."""
    groups: dict[int, list[int]] = {}
    oldest = first.copy()
    for i, older in enumerate(first.tolist()):
        oldest[i] = oldest[older] if older < i else i
        groups.setdefault(int(oldest[i]), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _group(members: list[int], unit: np.ndarray, rows: np.ndarray) -> Group:
    cosines = np.clip(unit[members] @ unit[members[0]], -1, 1)
    return Group(tuple(rows[members].tolist()), tuple(round(float(c), 4) for c in cosines))

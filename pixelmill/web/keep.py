"""Which of several look-alikes to keep: the one with the most pixels, then the most bytes, then the oldest file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixelmill.curation.keep import merits
from pixelmill.curation.near import units
from pixelmill.store.reader import MatrixView, Store


@dataclass(frozen=True, slots=True)
class Member:
    """A row of a group: its pixels, bytes (0: not known), the earliest mtime of its files, the cosine to the best."""

    row: int
    pixels: int
    size: int
    since_ns: int
    similarity: float = 1.0

    @property
    def merit(self) -> tuple[int, int, int, int]:
        """Less is better. Rows count up as images come, and stand for the age where files are equally old."""
        return -self.pixels, -self.size, self.since_ns, self.row


def best_first(view: MatrixView, groups: Sequence[Sequence[int]]) -> list[list[Member]]:
    """The members of each group, the one to keep first, each with its cosine to that one."""
    members = {member.row: member for member in _members(view.store, [row for group in groups for row in group])}
    return [_with_cosines(view, sorted((members[row] for row in group), key=lambda m: m.merit)) for group in groups]


def _members(store: Store, rows: Sequence[int]) -> list[Member]:
    judged = merits(store, np.array(rows, np.int64), "largest").tolist()
    return [Member(row, -pixels, -size, since) for row, (pixels, size, since) in zip(rows, judged, strict=True)]


def _with_cosines(view: MatrixView, members: list[Member]) -> list[Member]:
    vectors = units(view, np.array([member.row for member in members]))
    cosines = np.clip(vectors @ vectors[0], -1, 1).tolist()
    return [replace(member, similarity=round(cosine, 4)) for member, cosine in zip(members, cosines, strict=True)]

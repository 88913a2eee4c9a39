"""Which rows of a dataset lie where: extents, laid over one another and joined."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Extent(NamedTuple):
    """Rows `row` to `row + rows` of a dataset are rows `offset` to `offset + rows` of it in the part file `part`."""

    row: int
    rows: int
    part: str
    offset: int

    @property
    def end(self) -> int:
        return self.row + self.rows

    def cut(self, start: int, stop: int) -> Extent:
        """The extent's piece between rows `start` and `stop`."""
        return Extent(start, stop - start, self.part, self.offset + start - self.row)


def overlay(extents: Sequence[Extent], added: Iterable[Extent]) -> tuple[Extent, ...]:
    """`extents` with `added` laid over them: where both hold a row, `added` wins. Sorted, disjoint, and joined."""
    new = sorted(added)
    if not new:
        return tuple(extents)
    if not extents or extents[-1].end <= new[0].row:
        return joined([*extents, *new])
    kept = [piece for extent in extents for piece in _outside(extent, new)]
    return joined(sorted([*kept, *new]))


def joined(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """Sorted, disjoint extents with those joined that continue each other in one part."""
    result: list[Extent] = []
    for extent in extents:
        last = result[-1] if result else None
        if last and last.part == extent.part and last.end == extent.row and last.offset + last.rows == extent.offset:
            result[-1] = last._replace(rows=last.rows + extent.rows)
        elif extent.rows:
            result.append(extent)
    return tuple(result)


def extents_of_rows(rows: np.ndarray, offsets: np.ndarray, part: str) -> tuple[Extent, ...]:
    """Extents that put row `offsets[i]` of `part` at row `rows[i]`; runs that ascend together become one extent."""
    if not len(rows):
        return ()
    order = np.argsort(rows, kind="stable")
    rows, offsets = rows[order], offsets[order]
    breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(offsets) != 1)) + 1
    starts, ends = np.r_[0, breaks], np.r_[breaks, len(rows)]
    return tuple(Extent(int(rows[a]), int(b - a), part, int(offsets[a])) for a, b in zip(starts, ends, strict=True))


def clipped(extents: Sequence[Extent], start: int, stop: int) -> Iterator[Extent]:
    """The pieces of sorted `extents` between rows `start` and `stop`."""
    for extent in extents:
        if extent.row < stop and extent.end > start:
            yield extent.cut(max(extent.row, start), min(extent.end, stop))


def extents_holding(extents: Sequence[Extent], rows: np.ndarray) -> Iterator[tuple[Extent, int, int]]:
    """The extents that hold some of the ascending `rows`, each with where its rows begin and end among these."""
    firsts = np.searchsorted(rows, [extent.row for extent in extents])
    lasts = np.searchsorted(rows, [extent.end for extent in extents])
    for index in np.flatnonzero(lasts > firsts):
        yield extents[int(index)], int(firsts[index]), int(lasts[index])


def _outside(extent: Extent, cover: Sequence[Extent]) -> Iterator[Extent]:
    start = extent.row
    for other in cover[max(bisect_left(cover, (extent.row,)) - 1, 0) :]:
        if other.row >= extent.end:
            break
        if other.end <= start:
            continue
        if other.row > start:
            yield extent.cut(start, other.row)
        start = max(start, other.end)
    if start < extent.end:
        yield extent.cut(start, extent.end)

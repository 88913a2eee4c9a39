"""Images that look almost the same, in groups. Exact copies are one row already, and never two members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pixelmill.curation.near import ROUNDING
from pixelmill.store.reader import MatrixView
from pixelmill.web.vectors import BLOCK, blocks, newest

MOST = 20_000
"""Images that are compared with each other: about 0.5 TFLOP at 1280 dims. Of more, those that came last. If all of them
are in one chain of look-alikes, comparing takes 0.8 GB."""
_LEVELS = 65_534


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The groups of rows, ascending, the largest group first; how many images were compared, `of` how many."""

    groups: tuple[tuple[int, ...], ...]
    compared: int
    of: int


def near_duplicates(view: MatrixView, rows: np.ndarray, *, threshold: float, most: int = MOST) -> Duplicates:
    """Groups of `rows` (those with a vector) in which every two have a cosine of at least `threshold`.

    By complete link: the two groups whose least similar members are the most similar become one, until none can. Every
    pair of those compared is looked at, in blocks.
    """
    compared = newest(rows, most)
    unit = np.concatenate([np.zeros((0, view.shape[1]), np.float32), *blocks(view, compared)])
    groups = [
        tuple(compared[linked[members]].tolist())
        for linked in _linked(unit, threshold - ROUNDING)
        for members in complete_link(_alike(unit[linked], threshold - ROUNDING))
    ]
    return Duplicates(tuple(sorted(groups, key=lambda g: (-len(g), g))), len(compared), len(rows))


def complete_link(alike: np.ndarray) -> Iterator[list[int]]:
    """The groups of two and more, by complete link, of a symmetric (M, M) array, which is used up: how alike each two
    are, 0 where they may not be in one group.

    Along chains of nearest neighbours (F. Murtagh, Computer Journal 26(4), 1983), which gives what merging the nearest
    two of all again and again does, in the square of M steps instead of its cube.
    """
    groups = [[i] for i in range(len(alike))]
    chain: list[int] = []
    for first in range(len(alike)):
        while groups[first] or chain:
            chain = chain or [first]
            last = chain[-1]
            nearest = int(alike[last].argmax())
            if not alike[last, nearest]:
                chain.pop()
                group, groups[last] = groups[last], []
                if len(group) > 1:
                    yield sorted(group)
            elif len(chain) > 1 and alike[last, chain[-2]] == alike[last, nearest]:
                into = chain[-2]
                del chain[-2:]
                groups[into], groups[last] = groups[into] + groups[last], []
                _merge(alike, into, last)
            else:
                chain.append(nearest)


def _merge(alike: np.ndarray, into: int, other: int) -> None:
    """Let `into` stand for both: it is as alike to a third as the one of them that is less so."""
    both = np.minimum(alike[into], alike[other])
    both[[into, other]] = 0
    alike[into] = alike[:, into] = both
    alike[other] = alike[:, other] = 0


def _linked(unit: np.ndarray, threshold: float) -> list[np.ndarray]:
    """What can be grouped apart from each other: sets of two and more that chains of similar images connect."""
    first = np.arange(len(unit))
    for start in range(0, len(unit), BLOCK):
        stop = min(start + BLOCK, len(unit))
        pairs = np.tril(unit[start:stop] @ unit[:stop].T >= threshold, k=start - 1)
        for i in np.flatnonzero(pairs.any(axis=1)).tolist():
            chains = np.unique(first[np.append(np.flatnonzero(pairs[i]), start + i)])
            if len(chains) > 1:
                first[:stop][np.isin(first[:stop], chains)] = chains[0]
    order = np.argsort(first, kind="stable")
    sets = np.split(order, np.flatnonzero(np.diff(first[order])) + 1)
    return [members for members in sets if len(members) > 1]


def _alike(unit: np.ndarray, threshold: float) -> np.ndarray:
    """(M, M) uint16: 0 where the cosine is below `threshold`, else the higher the more alike, in steps of 0.000003."""
    result = np.zeros((len(unit), len(unit)), np.uint16)
    for start in range(0, len(unit), BLOCK):
        stop = min(start + BLOCK, len(unit))
        cosines = np.minimum(unit[start:stop] @ unit[:stop].T, 1)
        levels = np.where(cosines >= threshold, 1 + (cosines - threshold) / (1 - threshold) * _LEVELS, 0)
        levels[:, start:] = np.minimum(levels[:, start:], levels[:, start:].T)  # rounded differently either way
        result[start:stop, :stop] = levels
        result[:stop, start:stop] = result[start:stop, :stop].T
    np.fill_diagonal(result, 0)
    return result

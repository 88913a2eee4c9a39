"""Spherical k-means (Dhillon and Modha 2001): unit vectors around centres of unit length, by cosine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from pixelmill.curation.near import TILE, Check

_SAME: Final = 1e-6
"""Cosine distance of vectors that are equal but for rounding."""


def spherical_means(sample: np.ndarray, first: np.ndarray, rounds: int, check: Check) -> np.ndarray:
    """(k, dim): centres of the unit vectors `sample`, from the `first` ones on, after so many rounds at most."""
    centres, homes = first.copy(), np.empty(0, np.int64)
    for _ in range(rounds):
        check()
        before, homes = (
            homes,
            np.concatenate(
                [nearest(sample[start : start + TILE], centres, 1)[:, 0] for start in range(0, len(sample), TILE)]
            ),
        )
        if np.array_equal(before, homes):
            break
        for cell, members in by_cell(homes):
            mean = sample[members].sum(axis=0)
            centres[cell] = mean / (np.linalg.norm(mean) or 1)
    return centres


def spread(sample: np.ndarray, number: int, check: Check) -> np.ndarray:
    """(at most `number`, dim): vectors of the sample to begin with. Fewer where the others are all the same as these.

    By greedy k-means++ (Arthur and Vassilvitskii 2007), as scikit-learn has it: some are drawn, each the likelier the
    farther it is from all before it, and the one that leaves the least distance is taken.
    """
    random = np.random.default_rng(0)
    drawn = [int(random.integers(len(sample)))]
    far = _distances(sample, drawn)[:, 0]
    while len(drawn) < number and far.any():
        check()
        some = random.choice(len(sample), 2 + int(math.log(number)), p=far / far.sum()).tolist()
        left = np.minimum(far[:, None], _distances(sample, some))
        best = int(left.sum(axis=0).argmin())
        drawn.append(some[best])
        far = left[:, best]
    return sample[drawn]


def _distances(sample: np.ndarray, some: Sequence[int]) -> np.ndarray:
    """(len(sample), len(some)) float64: 1 less the cosine, 0 for what is equal."""
    result: np.ndarray = 1 - (sample @ sample[some].T).astype(np.float64)
    result[result < _SAME] = 0
    return result


def by_cell(cells: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each cell of a list, with the places in the list at which it stands, ascending."""
    order = np.argsort(cells, kind="stable")
    named, starts = np.unique(cells[order], return_index=True)
    yield from zip(named.tolist(), np.split(order, starts[1:]), strict=False)  # of nothing there is one piece


def nearest(vectors: np.ndarray, centres: np.ndarray, number: int) -> np.ndarray:
    """(len(vectors), number): the nearest of `centres`, the nearest first."""
    cosines = vectors @ centres.T
    if number == 1:
        first: np.ndarray = cosines.argmax(axis=1)[:, None]
        return first
    some = np.argpartition(-cosines, number - 1, axis=1)[:, :number] if number < len(centres) else (
        np.broadcast_to(np.arange(number), (len(vectors), number))
    )  # fmt: skip
    order = np.argsort(-np.take_along_axis(cosines, some, axis=1), axis=1, kind="stable")
    result: np.ndarray = np.take_along_axis(some, order, axis=1)
    return result

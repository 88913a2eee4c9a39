"""Which images lack which matrix, and the shards that a worker takes one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pixelmill.sources.found import FoundFile
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Fillable
from pixelmill.store.reader import Store

_SHARDS_A_WORKER = 4
"""At least so many shards for each of several workers, so that they can be shared out evenly."""


@dataclass(frozen=True, slots=True)
class Shard:
    """`images` images of what a scan left to do, from position `first` on."""

    number: int
    first: int
    images: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The missing cells of (image content x matrix): images by fingerprint and in all, and the shards they are in."""

    pending: dict[str, int]
    images: int
    shards: tuple[Shard, ...]


NO_MATRIX = "no matrix"
"""In place of a fingerprint: a matrix that is still to be made lacks every image but those that no model can have."""


class Coverage:
    """Which rows of one snapshot need nothing more of which matrices and columns: embedded, or in quarantine."""

    def __init__(self, store: Store, ledger: Ledger, matrices: Sequence[Fillable], *, and_new: bool = False) -> None:
        """`and_new`: also from NO_MATRIX."""
        self._rows = len(store)
        self._done: dict[str, np.ndarray] = {}
        for fingerprint in [*(matrix.fingerprint for matrix in matrices), *[NO_MATRIX] * and_new]:
            current = store.manifest.fillable(fingerprint)
            done = store.embedded(current) if current else np.zeros(len(store), dtype=bool)
            done[[row for row in ledger.quarantine.rows(fingerprint) if row < len(done)]] = True
            self._done[fingerprint] = done

    def lacking(self, row: int | None) -> frozenset[str]:
        """The fingerprints of the matrices that lack `row`; all of them for a content that has no row yet."""
        return frozenset(f for f, done in self._done.items() if row is None or row >= len(done) or not done[row])

    @property
    def lacks_any(self) -> np.ndarray:
        """(N,) bool: the rows that some matrix lacks."""
        lacks = np.zeros(self._rows, dtype=bool)
        for done in self._done.values():
            lacks |= ~done
        return lacks


def lacking_images(ledger: Ledger, coverage: Coverage, scan: int, pending: Counter[str]) -> Iterator[FoundFile]:
    """The images of a scan whose content is unknown or lacks a matrix, in path order; of copies only the first.

    `pending` counts them by fingerprint on the way.
    """
    lacks = bytearray(coverage.lacks_any)
    for file, row in ledger.worklist.images(scan, lambda row: row is None or row >= len(lacks) or bool(lacks[row])):
        if row is not None and row < len(lacks):
            lacks[row] = False
        pending.update(coverage.lacking(row))
        yield file


def count_pending(
    ledger: Ledger, store: Store, matrices: Sequence[Fillable], scan: int, *, and_new: bool = False
) -> Counter[str]:  # fmt: skip
    """How many images of a scan lack each of `matrices`, by fingerprint; `and_new`: also NO_MATRIX."""
    pending = Counter[str]()
    for _ in lacking_images(ledger, Coverage(store, ledger, matrices, and_new=and_new), scan, pending):
        pass
    return pending


def make_plan(
    ledger: Ledger, store: Store, matrices: Sequence[Fillable], scan: int, shard_size: int, *,
    workers: int = 1, newest_first: bool = False,
) -> Plan:  # fmt: skip
    """Record in the ledger what is missing of `matrices` for the images of a scan; the shards that it falls into.

    `newest_first`: by the files' times of modification, for runs that may not come to the end; else in path order.
    """
    pending = Counter[str]()
    missing = lacking_images(ledger, Coverage(store, ledger, matrices), scan, pending)
    images = ledger.worklist.plan(scan, missing, newest_first=newest_first)
    return Plan(dict(pending), images, cut(images, shard_size, workers))


def cut(images: int, shard_size: int, workers: int) -> tuple[Shard, ...]:
    """Shards of at most `shard_size` images, small enough for several `workers` to have some each."""
    if workers > 1:
        shard_size = min(shard_size, max(-(-images // (workers * _SHARDS_A_WORKER)), 1))
    return tuple(Shard(i, at, min(shard_size, images - at)) for i, at in enumerate(range(0, images, shard_size)))

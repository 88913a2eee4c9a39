"""Which images lack which matrix, and the shards that a worker takes one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pixelmill.images.discover import FoundFile
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store


@dataclass(frozen=True, slots=True)
class Shard:
    """The `images` images of a scan from path `first` to path `last` (absolute, both included) that lack a matrix."""

    number: int
    first: str
    last: str
    images: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The missing cells of (image content x matrix): images to do by fingerprint, and the shards that cover them."""

    pending: dict[str, int]
    unread: int
    shards: tuple[Shard, ...]

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)


class Coverage:
    """Which rows of one snapshot need nothing more from which matrices: embedded, or in quarantine."""

    def __init__(self, store: Store, ledger: Ledger, matrices: Sequence[Matrix]) -> None:
        self._rows = len(store)
        self._done: dict[str, np.ndarray] = {}
        for matrix in matrices:
            fingerprint = matrix.provenance.fingerprint
            current = store.manifest.matrix(fingerprint)
            done = store.embedded(current) if current else np.zeros(len(store), dtype=bool)
            done[[row for row in ledger.quarantined_rows(fingerprint) if row < len(done)]] = True
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


def todo(
    ledger: Ledger, coverage: Coverage, scan: int, first: str = "", last: str | None = None
) -> Iterator[tuple[FoundFile, int | None]]:
    """The images of a scan whose content is unknown or lacks a matrix, in path order; of copies only the first."""
    lacks = coverage.lacks_any
    for file, row in ledger.images(scan, first, last):
        if row is None or row >= len(lacks):
            yield file, row
        elif lacks[row]:
            lacks[row] = False
            yield file, row


def make_plan(ledger: Ledger, store: Store, matrices: Sequence[Matrix], scan: int, shard_size: int) -> Plan:
    """What is missing of `matrices` for the images of a scan, in shards of at most `shard_size` images."""
    coverage = Coverage(store, ledger, matrices)
    pending = {matrix.provenance.fingerprint: 0 for matrix in matrices}
    shards: list[Shard] = []
    unread = 0
    for file, row in todo(ledger, coverage, scan):
        unread += row is None
        for fingerprint in coverage.lacking(row):
            pending[fingerprint] += 1
        _add(shards, file.absolute, shard_size)
    return Plan(pending, unread, tuple(shards))


def _add(shards: list[Shard], path: str, shard_size: int) -> None:
    if not shards or shards[-1].images >= shard_size:
        shards.append(Shard(len(shards), path, path, 1))
    else:
        last = shards[-1]
        shards[-1] = Shard(last.number, last.first, path, last.images + 1)

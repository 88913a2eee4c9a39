"""What a run tells whoever embeds its shards: the files of each, and what the store holds of what they may hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np

from pixelmill.errors import StoreError
from pixelmill.plan import Coverage, Shard
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.content_sizes import sha256_of
from pixelmill.store.manifest import Fillable
from pixelmill.store.reader import BLOCK, Store
from pixelmill.travel.shard_order import ShardOrder, offset_of, prefixes_message, prefixes_of

CROWD: Final = 64
"""Contents of one size in bytes that are listed one by one; of more, prefixes stand for those that lack nothing."""
LISTED: Final = 16_384
"""So many contents that lack something are listed of one size at most, and so many of all sizes together that were
stored since the run began, the newest ones: half a megabyte. One beyond may be embedded with every model, should a file
turn out to hold it."""


class ShardOrders:
    """Makes the orders of one scan's shards, each as the store is when it is asked for.

    A file whose content is known is sent with that; any other with the stored contents of its size, so that whoever
    reads it sees without the store what is there already. Those of them that need nothing and are too many to list, or
    whose size nobody knows, travel once a run, as `prefixes`.
    """

    def __init__(self, writer: StoreWriter, matrices: Sequence[Fillable], scan: int) -> None:
        self._writer = writer
        self._matrices = tuple(matrices)
        self._scan = scan
        self._prefixed = self._too_many(writer.snapshot())

    @property
    def needs_prefixes(self) -> bool:
        """Whether the orders of this run are complete only together with `prefixes`."""
        return bool(self._prefixed.any())

    def prefixes(self) -> bytes | None:
        """The message with the prefixes, if the run needs them."""
        if not self.needs_prefixes:
            return None
        store = self._writer.snapshot()
        some = [prefixes_of(contents, offset_of(self._scan)) for contents in _contents(store, self._prefixed)]
        return prefixes_message(store.manifest.store_id, self._scan, np.sort(np.concatenate(some)))

    def order(self, shard: Shard, fingerprints: Sequence[str]) -> ShardOrder:
        """What is to be done of a shard for some of the matrices, as the store is now. Raises StoreError where the plan
        of the run is gone."""
        ledger = self._writer.ledger
        self._require_plan(shard)
        ledger.sizes.add()
        store = self._writer.snapshot()
        coverage = Coverage(store, ledger, [m for m in self._matrices if m.fingerprint in fingerprints])
        planned = [
            (file, row)
            for file, row in ledger.worklist.planned(self._scan, shard.first, shard.images)
            if coverage.lacking(row)
        ]
        return ShardOrder(
            store.manifest.store_id, self._scan, shard.number, tuple(fingerprints), tuple(file for file, _ in planned),
            self._listed(store, coverage, shard, planned), offset_of(self._scan),
        )  # fmt: skip

    def _require_plan(self, shard: Shard) -> None:
        if not self._writer.ledger.worklist.has_plan(self._scan, shard.first, shard.images):
            raise StoreError(
                f"Expected the plan of run {self._scan} in the ledger of {self._writer.folder}. It is not there any "
                "more: was the store repaired, or put back from a backup? What was embedded is stored; the next run "
                "does the rest."
            )

    def _listed(
        self, store: Store, coverage: Coverage, shard: Shard, planned: Sequence[tuple[FoundFile, int | None]]
    ) -> dict[bytes, frozenset[str]]:
        """The stored contents that the files of a shard may hold, and what each lacks."""
        own = {row for _, row in planned if row is not None}
        own.update(self._writer.ledger.sizes.held(self._scan, shard.first, shard.images))
        sizes = {file.size for file, row in planned if row is None}
        if 0 in sizes:  # whatever it is, this run may have stored it
            own.update(range(max(len(self._prefixed), len(store) - LISTED), len(store)))
        rows = np.array(sorted(own.union(self._of_sizes(sizes, len(store)))), dtype=np.int64)
        rows = rows[: np.searchsorted(rows, len(store))]
        listed: dict[bytes, frozenset[str]] = {}
        for sha256, row in zip(map(bytes, sha256_of(store, rows)), rows.tolist(), strict=True):
            listed[sha256] = listed.get(sha256, frozenset()) | coverage.lacking(row)
        return listed

    def _of_sizes(self, sizes: Collection[int], rows: int) -> Iterator[int]:
        """Stored contents of some sizes: those without a prefix, and some of what came since the run began."""
        found, before = self._writer.ledger.sizes.rows, len(self._prefixed)
        for size in sizes:
            yield from (row for row in found(size, LISTED, before=before) if not self._prefixed[row])
            yield from found(size, max(LISTED // len(sizes), 1), first=before, before=rows)

    def _too_many(self, store: Store) -> np.ndarray:
        """(N,) bool: the stored contents that need nothing, and that some file may hold without being listed for it."""
        sizes, rows = self._writer.ledger.sizes, len(store)
        unknown = sizes.gather(self._scan)
        if not unknown.files or not rows:
            return np.zeros(rows, dtype=bool)
        complete: np.ndarray = ~Coverage(store, self._writer.ledger, self._matrices).lacks_any
        if not unknown.unsized:
            complete &= sizes.crowded(CROWD, rows) | ~sizes.sized(rows)
        return complete


def _contents(store: Store, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """The sha256 of the wanted rows, (N,) bool, some after the other."""
    for start in range(0, len(wanted), BLOCK):
        yield sha256_of(store, start + np.flatnonzero(wanted[start : start + BLOCK]))

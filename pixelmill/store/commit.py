"""Writing to a store: part, then master, then ledger; each durable before the next, one writer at a time."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from pixelmill.choices import VectorDtype
from pixelmill.errors import StoreError
from pixelmill.store.additions import (
    Committed,
    already_there,
    rows_stored,
    shard_datasets,
    with_part,
    with_shard,
)
from pixelmill.store.creation import make_folder, make_store, refuse_foreign_parts
from pixelmill.store.erase_ledger import level_with
from pixelmill.store.extents import Extent
from pixelmill.store.filesystem import clock, warnings_for
from pixelmill.store.forgotten import on_record
from pixelmill.store.generations import with_last, with_matrix, with_serving
from pixelmill.store.ledger import Ledger
from pixelmill.store.locations import blocks, note_gone, relocated, to_locate
from pixelmill.store.lock import check_lock_excludes, in_words, new_lock, store_lock
from pixelmill.store.manifest import Manifest, Matrix, Part, Provenance
from pixelmill.store.master import (
    MASTER,
    PARTS,
    home_of,
    old_copy,
    publish,
    put_back_over,
    read_manifest,
    read_manifest_copy,
    standing,
)
from pixelmill.store.newer import refuse_newer
from pixelmill.store.parts import write_part
from pixelmill.store.presence import Presence
from pixelmill.store.reader import Store
from pixelmill.store.revisions import PublishedMeanwhile, check_names_exclude, newest
from pixelmill.store.rows import Content, ShardRows
from pixelmill.store.serving import ready_to_serve

log = logging.getLogger(__name__)

_TURNS = 20
"""How often something is published anew because another machine was first, before it counts as failed."""

T = TypeVar("T")


class Overtaken(StoreError):
    """A matrix holds more than when it was looked at: whoever looked decides anew. (Not `PublishedMeanwhile`, which a
    writer meets beneath its lock and answers by itself, since what it was to do is as right on top of the other.)"""


class StoreWriter:
    """The writing side of a store. Any number of processes may have one; commits take turns by an OS lock."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = home_of(Path(folder))
        refuse_newer(self.folder)
        make_folder(self.folder)
        self._lock = new_lock(self.folder)
        self._overtaken = False
        self._matrices: dict[str, Matrix] = {}
        with self._locked(), in_words(self.folder):
            check_lock_excludes(self.folder)
            check_names_exclude(self.folder)
            self._presence = Presence(self.folder)
            try:
                self.ledger = self._opened()
            except Exception:
                self._presence.leave()
                raise
        with in_words(self.folder):
            unfinished = on_record(self.folder).told(self.folder)
            self.warnings = (*warnings_for(self.folder), *old_copy(self.folder), *unfinished)
        """What the run's report should say about the store and the file system under it."""

    def _opened(self) -> Ledger:
        if not (self.folder / MASTER).exists():
            refuse_foreign_parts(self.folder)
            make_store(self.folder)
        ledger, over = Ledger(self.folder), put_back_over(self.folder)
        level_with(ledger, Store(self.folder, standing(self.folder)))
        ledger.runs.steady_since(clock(self.folder))
        if over:
            ledger.runs.notify(over)
        return ledger

    def close(self) -> None:
        self.ledger.close()
        self._presence.leave()

    def warn(self) -> None:
        """Say aloud what the run's report will say about the file system."""
        for warning in self.warnings:
            log.warning("%s", warning)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def snapshot(self) -> Store:
        """The snapshot published now."""
        store = Store(self.folder)
        self._remember(store.manifest)
        return store

    def _remember(self, manifest: Manifest) -> None:
        self._matrices.update((matrix.provenance.fingerprint, matrix) for matrix in manifest.matrices)

    def in_turn(self, act: Callable[[Manifest], T]) -> T:
        """Do `act`, which may publish, with the store's lock held, the manifest as it is and the ledger level with it.

        Should another machine publish first, whose locks do not reach this one, it is done again on top of that.
        """
        for _ in range(_TURNS - 1):
            with suppress(PublishedMeanwhile), self.exclusive() as manifest:
                return act(manifest)
            log.warning("%s: another machine has published meanwhile: its locks do not reach this one", self.folder)
            self._overtaken = True
            time.sleep(random.random() / 10)
        with self.exclusive() as manifest:
            return act(manifest)

    @contextmanager
    def exclusive(self) -> Iterator[Manifest]:
        """Hold the store's lock; gives the manifest, with the ledger level with it."""
        with self._locked():
            self._presence.check()
            manifest = standing(self.folder)
            self._remember(manifest)
            level_with(self.ledger, Store(self.folder, manifest))
            yield manifest

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with store_lock(self.folder, self._lock):
            yield

    def matrix(self, provenance: Provenance, dtype: VectorDtype) -> Matrix:
        """The matrix of this fingerprint: the one there is, or a new one. A model's first one is served at once."""
        return self.in_turn(lambda manifest: self._made(manifest, provenance, dtype))

    def _made(self, manifest: Manifest, provenance: Provenance, dtype: VectorDtype) -> Matrix:
        found = manifest.matrix(provenance.fingerprint)
        if found:
            return found
        grown = with_matrix(manifest, Matrix(provenance=provenance, dtype=dtype, serving=False))
        publish(self.folder, grown)
        return grown.matrices[-1]

    def commit(self, shard: ShardRows, *, looked_at: Sequence[Matrix] = ()) -> Committed:
        """Add the rows of a shard to the store, durably. Committing the same shard twice changes nothing.

        Raises Overtaken, and adds nothing, if one of the matrices `looked_at` is by now another than it was.
        """
        part = self._write(shard)
        with self.discarding([part] if part else []):
            return self.in_turn(lambda manifest: self._commit(shard, part, looked_at, manifest))

    def _commit(
        self, shard: ShardRows, part: Part | None, looked_at: Sequence[Matrix], manifest: Manifest
    ) -> Committed:
        _require_unchanged(manifest, looked_at)
        if part and not (self.folder / PARTS / part.file).exists():
            # A compaction deletes what no snapshot names once it is a day old: this process has been asleep.
            part = self._write(shard)
        with self.discarding([part] if part else []):
            return self._published(shard, part, manifest)

    def _published(self, shard: ShardRows, part: Part | None, manifest: Manifest) -> Committed:
        rows = self._rows(shard.contents, manifest)
        store = Store(self.folder, self._with_dropped(manifest, shard.vectors))
        manifest, dropped = store.manifest, already_there(store, shard, rows)
        updated = with_shard(store, shard, part, rows) if part else manifest
        if updated is not manifest:
            updated = publish(self.folder, updated)
        elif part:
            self.discard(part)
        return Committed(updated, dropped, self.ledger.record_shard(shard, rows, first_new=manifest.rows))

    def continue_with(self, fingerprint: str) -> None:
        """Make the matrix named the last generation of its model: the one that runs fill."""

        def changed(manifest: Manifest) -> None:
            after = with_last(self._with_dropped(manifest, [fingerprint]), fingerprint)
            if after is not manifest:
                publish(self.folder, after)

        self.in_turn(changed)

    def serve(self, fingerprints: Sequence[str]) -> list[str]:
        """Let those of the matrices named that cover what their model serves now take its place; their models."""
        return self.in_turn(lambda manifest: self._served(manifest, fingerprints))

    def _served(self, manifest: Manifest, fingerprints: Sequence[str]) -> list[str]:
        ready = ready_to_serve(Store(self.folder, manifest), self.ledger, fingerprints)
        if ready:
            publish(self.folder, with_serving(manifest, ready))
        return [matrix.provenance.model for matrix in ready]

    def update_locations(self, rows: Sequence[int]) -> int:
        """Publish where the contents of `rows` are now, as the ledger knows, and of all that have no path though a file
        holds them; the number of rows whose path changed. A row that is gone from where it was, and that a file which
        waits to be read may hold, keeps its path until that is known."""
        return self.in_turn(lambda manifest: self._locate(manifest, rows))

    def _locate(self, manifest: Manifest, rows: Sequence[int]) -> int:
        changed, parts = 0, list[Part]()
        store = Store(self.folder, manifest)
        with self.discarding(parts):
            for start, stop, members in blocks(to_locate(store, self.ledger, rows), manifest.rows):
                part, number = relocated(store, self.ledger, start, stop, members)
                if part:
                    manifest = with_part(manifest, part, location=[Extent(start, stop - start, part.file, 0)])
                    parts.append(part)
                    changed += number
            if parts:
                publish(self.folder, manifest)
        note_gone(Store(self.folder, manifest), self.ledger)
        return changed

    @contextmanager
    def discarding(self, parts: Sequence[Part]) -> Iterator[None]:
        """Remove parts that were written, should what is to publish them fail; those that were published stay."""
        try:
            yield
        except Exception:
            for part in parts:
                self.discard(part)
            raise

    def discard(self, part: Part) -> None:
        """Remove a part that was written, unless a manifest names it by now."""
        with suppress(OSError):
            named = (read_manifest(self.folder), read_manifest_copy(self.folder), newest(self.folder))
            if not any(manifest and part.file in manifest.parts for manifest in named):
                (self.folder / PARTS / part.file).unlink(missing_ok=True)

    def _write(self, shard: ShardRows) -> Part | None:
        """The part of a shard, written before the lock is taken; None when there is nothing to store."""
        if not shard.contents:
            return None
        if len({content.sha256 for content in shard.contents}) < len(shard.contents):
            raise ValueError("Expected each content of a shard once.")
        matrices = self._with_dropped(read_manifest(self.folder), shard.vectors)
        return write_part(self.folder / PARTS, shard_datasets(matrices, shard))

    def _with_dropped(self, manifest: Manifest, fingerprints: Iterable[str]) -> Manifest:
        """The manifest with those of the matrices named begun anew that were dropped as old ones while they were taken
        up again, or their vectors made."""
        for fingerprint in fingerprints:
            if manifest.matrix(fingerprint) is None and fingerprint in self._matrices:
                manifest = with_matrix(manifest, self._matrices[fingerprint])
        return manifest

    def _rows(self, contents: Sequence[Content], manifest: Manifest) -> np.ndarray:
        """The row of each content: the one it has, or the next free ones in order."""
        digests = [content.sha256 for content in contents]
        if self._overtaken:
            known = rows_stored(Store(self.folder, manifest), digests)
        else:
            known = self.ledger.contents.rows_of(digests)
        free = itertools.count(manifest.rows)
        rows = [known[digest] if digest in known else next(free) for digest in digests]
        return np.array(rows, dtype=np.int64)


def _require_unchanged(manifest: Manifest, looked_at: Sequence[Matrix]) -> None:
    for matrix in looked_at:
        now = manifest.matrix(matrix.provenance.fingerprint)
        if (now.extents if now else ()) != matrix.extents:  # one that was dropped begins anew, empty
            raise Overtaken(
                f"Expected the matrix of {matrix.provenance.model} as it was when it was looked at. Another worker has "
                "added to it since. Look again."
            )

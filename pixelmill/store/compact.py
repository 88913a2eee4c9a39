"""Many small parts into few large ones, so that a master never links more files than a process may open."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.commit import StoreWriter
from pixelmill.store.expiry import delete_expired
from pixelmill.store.filesystem import clock
from pixelmill.store.generations import old
from pixelmill.store.lock import unwritable
from pixelmill.store.manifest import Manifest, Matrix, Part, Retired
from pixelmill.store.master import PARTS, publish
from pixelmill.store.packs import Moves, packs, relinked, write_pack
from pixelmill.store.reader import Store
from pixelmill.store.validate import ENDS, JOINED

log = logging.getLogger(__name__)

PART_LIMIT = 200
"""Parts that one master may link (one file descriptor each when all are read; limits of 256 are common)."""
TARGET_BYTES = 256 * 2**20
RETENTION = 24 * 3600.0
"""Seconds that parts of older snapshots, and parts that no snapshot names, are kept for readers and writers at work."""

MERGING = ".merging"
_DROPPED = ("vectors/", "embedded/", "columns/", "filled/")
"""How the datasets begin that can be dropped: those of generations."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did: part files before and after, files deleted because their time was up, and the datasets of
    old generations that were dropped."""

    parts_before: int
    parts_after: int
    deleted: int
    dropped: tuple[str, ...] = ()


def compact(
    writer: StoreWriter, *, only_above: int = 1, retention: float = RETENTION, keep_generations: int | None = None
) -> Compaction:
    """Drop old generations but for the latest `keep_generations` of each model (None: keep all), merge the small parts
    of a store of more than `only_above`, then delete what is `retention` seconds old.

    Parts are read and merged without the store's lock, which others wait for: a pack is published only where the rows
    still lie where it was read from.
    """
    before = len(writer.snapshot().manifest.used_parts())
    doomed = [] if keep_generations is None else writer.in_turn(lambda now: _drop(writer, now, keep_generations))
    if before > only_above or doomed:
        with alone(writer.folder) as is_alone:
            if is_alone:
                _merge(writer)
    deleted = writer.in_turn(lambda manifest: delete_expired(writer, manifest, retention))
    after = len(writer.snapshot().manifest.used_parts())
    return Compaction(before, after, deleted, tuple(matrix.published_name for matrix in doomed))


def compact_if_needed(writer: StoreWriter) -> Compaction | None:
    """Compact a store that has come near the limit of parts or is badly fragmented.

    Large parts stay as they are. Where these alone come near the limit, some small ones are let gather first: else
    every commit would write the last pack anew. It is housekeeping: should it fail, that is said aloud and in the run's
    report, and what was committed before is none the worse.
    """
    manifest = writer.snapshot().manifest
    fragments = max((len(extents) for _, extents in manifest.datasets()), default=0)
    large = sum(manifest.parts[name].bytes >= TARGET_BYTES // 2 for name in manifest.used_parts())
    allowed = max(PART_LIMIT, large + PART_LIMIT // 10)
    if len(manifest.used_parts()) <= allowed and fragments <= 10 * PART_LIMIT:
        return None
    try:
        return compact(writer)
    except (StoreError, OSError) as error:
        problem = f"The small parts of {writer.folder} could not be merged; all rows are there. {error}"
        log.warning("%s", problem)
        with suppress(StoreError):
            writer.ledger.runs.notify(problem)
        return None


@contextmanager
def alone(folder: Path, patience: float = 0) -> Iterator[bool]:
    """Whether nobody else merges this store's parts after `patience` seconds, nor will meanwhile; two would do the same
    work twice."""
    lock = FileLock(folder / MERGING, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield True
    finally:
        lock.release()


def _drop(writer: StoreWriter, manifest: Manifest, keep: int) -> list[Matrix]:
    doomed = old(manifest, keep)
    if doomed:
        left = tuple(matrix for matrix in manifest.matrices if matrix not in doomed)
        log.info("old generations dropped: %s", ", ".join(matrix.published_name for matrix in doomed))
        publish(writer.folder, _without_unused(writer, manifest.model_copy(update={"matrices": left})))
    return doomed


def _merge(writer: StoreWriter) -> None:
    store = writer.snapshot()
    chosen = _mergeable(store.manifest) - _damaged(store, _mergeable(store.manifest))
    if len(chosen) < 2 and not chosen & _wasteful(store.manifest):
        return
    for pack in packs(store.manifest, chosen, TARGET_BYTES):
        part, extents = write_pack(store, pack)
        with writer.discarding([part]):
            published = writer.in_turn(partial(_relink, writer, part, extents))
        if not published:
            writer.discard(part)


def _relink(writer: StoreWriter, part: Part, moves: Moves, manifest: Manifest) -> bool:
    """Let the rows of a pack be read from there, where they still lie where they were read from; whether any do."""
    moved = relinked(manifest, part, moves) if (writer.folder / PARTS / part.file).exists() else None
    if moved is None:
        return False
    publish(writer.folder, _without_unused(writer, moved))
    return True


def _without_unused(writer: StoreWriter, manifest: Manifest) -> Manifest:
    used, now = manifest.used_parts(), clock(writer.folder)
    retired = [Retired(file=name, at=now) for name in manifest.parts if name not in used]
    parts = {name: part for name, part in manifest.parts.items() if name in used}
    return manifest.model_copy(update={"parts": parts, "retired": (*manifest.retired, *retired)})


def _mergeable(manifest: Manifest) -> set[str]:
    """Two or more parts below the target size, and any that is read in many pieces."""
    pieces: dict[str, int] = {}
    for _, extents in manifest.datasets():
        for extent in extents:
            pieces[extent.part] = pieces.get(extent.part, 0) + 1
    small = {name for name in pieces if manifest.parts[name].bytes < TARGET_BYTES // 2}
    fragmented = {name for name, n in pieces.items() if n > 64}
    return fragmented | _wasteful(manifest) | (small if len(small) > 1 else set())


def _wasteful(manifest: Manifest) -> set[str]:
    """Parts of which more than a quarter are vectors or columns that were dropped."""
    kept = {name for names, _ in manifest.datasets() for name in names}
    lost = {
        name: sum(
            array.nbytes for dataset, array in manifest.parts[name].arrays.items()
            if dataset.startswith(_DROPPED) and dataset.removesuffix(ENDS).removesuffix(JOINED) not in kept
        )
        for name in manifest.used_parts()
    }  # fmt: skip
    return {name for name, size in lost.items() if 4 * size > manifest.parts[name].bytes}


def _damaged(store: Store, names: set[str]) -> set[str]:
    """Those parts that are not what was written: they stay as they are, for verify to name and repair to drop."""
    first = {extent.part: extent for _, extents in store.manifest.datasets() for extent in reversed(extents)}
    found = set()
    for name in names:
        try:
            store.parts.require_sound(first[name])
        except StoreDamaged as error:
            log.warning("not compacted: %s", error)
            found.add(name)
    return found

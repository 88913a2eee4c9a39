"""A whole copy of a store while runs go on, and the way back: a backup is a store, and restoring is backing that up.

Parts come before the master that links them, so that a backup that is cut off is no store yet, or the one that it was.
The ledger is read before the master, by SQLite's own backup, so that it is never ahead of it. Nobody waits: parts are
never written to again, and where a compaction deletes one before it was copied, the copy goes on with the snapshot by
which its rows lie elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pixelmill.errors import StoreBusy, StoreDamaged, StoreError
from pixelmill.store.backup_target import earlier_backup, mark, names_in, refuse_overlap
from pixelmill.store.creation import make_folder
from pixelmill.store.database import connect
from pixelmill.store.durable import (
    FULL,
    NO_DAMAGE,
    no_space,
    put_in_place,
    refused,
    reserve,
    sync_folder,
    write_durably,
)
from pixelmill.store.labels import copy_labels
from pixelmill.store.lock import PATIENCE, in_words, store_lock
from pixelmill.store.manifest import Manifest, Part, sealed
from pixelmill.store.master import MANIFEST_COPY, MASTER, PARTS, home_of, read_manifest
from pixelmill.store.master_file import master_bytes
from pixelmill.store.newer import refuse_newer
from pixelmill.store.reader import Store
from pixelmill.store.readonly import open_read_only
from pixelmill.store.schema import LEDGER
from pixelmill.store.sqlite_errors import unusable

_BLOCK = 2**23

Progress = Callable[[int, int], None]
"""Called with the bytes of parts done so far and those to be copied in all."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup did: rows and revision of the snapshot, parts copied and their bytes, and those there before."""

    rows: int
    revision: int
    copied: int
    bytes: int
    kept: int


class _Gone(Exception):
    """A part was deleted before it was copied: a later snapshot does without it."""


def backup(folder: Path, target: Path, progress: Progress = lambda _done, _total: None) -> Backup:
    """Make `target` a whole copy of the store in `folder`: a new one, or an earlier backup brought up to date, to which
    only what is new is copied. Handed-over work that no run has taken in, and indexes, are left out.

    Raises StoreError where `target` is something else, or a disk is full or cannot be read or written; StoreDamaged for
    a part that is not what was written, before anything of an earlier backup is replaced.
    """
    folder = home_of(folder)
    refuse_newer(folder)
    refuse_overlap(folder, target)
    earlier_backup(target, store := Store(folder))
    make_folder(target)
    with store_lock(target), in_words(target):
        earlier = earlier_backup(target, store)
        _sweep(target)
        with _ledger_copied(folder, target) as ledger:
            return _copied(folder, target, earlier, ledger, progress)


def _copied(folder: Path, target: Path, earlier: Manifest | None, ledger: Path | None, progress: Progress) -> Backup:
    there = names_in(target / PARTS)
    manifest = _copy_parts(folder, target, earlier, progress)
    copy_labels(folder, target)
    _publish(target, manifest, earlier, ledger)
    used = manifest.used_parts()
    for name in names_in(target / PARTS) - used:  # those of the backup before
        (target / PARTS / name).unlink(missing_ok=True)
    sync_folder(target / PARTS)
    mark(target, manifest)
    copied = used - there
    size = sum(manifest.parts[name].bytes for name in copied)
    return Backup(manifest.rows, manifest.revision, len(copied), size, len(used & there))


def _publish(target: Path, manifest: Manifest, earlier: Manifest | None, ledger: Path | None) -> None:
    """The master makes a new folder a store, so it comes last. An earlier backup's comes first: a ledger may be behind
    it, and the copy of a manifest that is ahead would say that an old master was put back."""
    if earlier:
        write_durably(target / MASTER, master_bytes(manifest))
    write_durably(target / MANIFEST_COPY, sealed(manifest))
    if ledger:
        _overwrite(ledger, target / LEDGER)
    if not earlier:
        write_durably(target / MASTER, master_bytes(manifest))


def _copy_parts(folder: Path, target: Path, earlier: Manifest | None, progress: Progress) -> Manifest:
    """Copy what `target` lacks of a snapshot, which is returned."""
    while True:
        manifest = read_manifest(folder)
        mark(target, manifest, *([earlier] if earlier else []))
        try:
            _copy_all(folder, target, manifest, progress)
        except _Gone as gone:
            if read_manifest(folder).revision == manifest.revision:
                raise StoreDamaged(f"{gone} It is missing. Run `pixelmill verify {folder}`.") from gone
        else:
            return manifest


def _copy_all(folder: Path, target: Path, manifest: Manifest, progress: Progress) -> None:
    parts = [manifest.parts[name] for name in sorted(manifest.used_parts())]
    lacking = [part for part in parts if not _has(target / PARTS / part.file, part)]
    total, done = sum(part.bytes for part in lacking), 0
    if lacking and shutil.disk_usage(target).free < total:
        raise no_space(target / PARTS / lacking[0].file, total)
    for part in lacking:
        progress(done, total)
        _copy(folder / PARTS / part.file, target / PARTS / part.file, part)
        done += part.bytes
    progress(done, total)


def _copy(path: Path, target: Path, part: Part) -> None:
    """One part, whole and durable, under its name at last."""
    temporary = target.with_name(f".{part.file}.{secrets.token_hex(4)}.tmp")
    try:
        with _readable(path, part) as file, temporary.open("xb") as copy:
            reserve(copy.fileno(), part.bytes)
            if _poured(file, copy, path) != part.sha256:
                raise _damaged(path, "has other content than was written (sha256 differs)")
            copy.flush()
            os.fsync(copy.fileno())
        put_in_place(temporary, target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.errno in FULL:
            raise no_space(target, part.bytes) from error
        raise


@contextmanager
def _readable(path: Path, part: Part) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise _Gone(f"Expected part {path}.") from error
    except OSError as error:
        raise _unread(path, error) from error
    with file:
        if (size := os.fstat(file.fileno()).st_size) != part.bytes:
            raise _damaged(path, f"has {size:,} bytes instead of {part.bytes:,}")
        yield file


def _poured(file: BinaryIO, copy: BinaryIO, path: Path) -> str:
    """The sha256 (hex) of what was copied."""
    digest = hashlib.sha256()
    while True:
        try:
            block = file.read(_BLOCK)
        except OSError as error:
            raise _unread(path, error) from error
        if not block:
            return digest.hexdigest()
        digest.update(block)
        copy.write(block)


@contextmanager
def _ledger_copied(folder: Path, target: Path) -> Iterator[Path | None]:
    """The ledger as it is now, in a file beside the backup's, which is removed at the end; None if there is none."""
    if not (folder / LEDGER).exists():
        yield None
        return
    copy = target / f".{LEDGER}.{secrets.token_hex(4)}.tmp"
    try:
        with open_read_only(folder) as ledger:
            _copy_database(ledger.database.connection, copy, blamed=folder / LEDGER)
        yield copy
    finally:
        for path in target.glob(f"{copy.name}*"):
            path.unlink(missing_ok=True)


def _overwrite(copy: Path, ledger: Path) -> None:
    """Put the copy in the place of the backup's ledger, as one transaction: whoever has that open is not disturbed, and
    no log that lies beside it can be taken for the new one's."""
    with closing(connect(copy)) as connection:
        _copy_database(connection, ledger, blamed=ledger)
    sync_folder(ledger.parent)


def _copy_database(source: sqlite3.Connection, target: Path, *, blamed: Path) -> None:
    """By SQLite's own backup, in one go: in steps, it would begin again whenever a run writes."""
    deadline = time.monotonic() + PATIENCE

    def patient(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > deadline:
            raise StoreBusy(f"Expected a turn at {target} within {PATIENCE} s. Another program keeps it locked.")

    try:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy, progress=patient)
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise no_space(target, blamed.stat().st_size) from error
        raise unusable(blamed, error) from error


def _sweep(target: Path) -> None:
    """Remove what a backup that was killed left under temporary names."""
    for place in (target, target / PARTS):
        for path in place.glob(".*.tmp*"):
            path.unlink(missing_ok=True)


def _has(path: Path, part: Part) -> bool:
    """Parts are never written to again: one of its name and size is the part. `pixelmill verify` hashes it."""
    return path.is_file() and path.stat().st_size == part.bytes


def _damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(
        f"Part {path} {what}: nothing that a backup holds was replaced. Run `pixelmill verify {path.parent.parent}`."
    )


def _unread(path: Path, error: OSError) -> StoreError:
    if error.errno in NO_DAMAGE:
        return refused(path, error)
    return StoreError(
        f"Expected to read {path}. It cannot be read ({error.strerror or error}): nothing that a backup holds was "
        "replaced. Is the disk broken?"
    )

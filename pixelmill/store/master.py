"""The published file: `vectors.h5`, virtual datasets over the parts plus the manifest that made them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pixelmill.errors import StoreDamaged, StoreError, StoreTooNew
from pixelmill.store import revisions
from pixelmill.store.durable import NO_DAMAGE, put_in_place, refused, write_durably, written_aside
from pixelmill.store.filesystem import is_shared
from pixelmill.store.manifest import (
    Manifest,
    sealed,
    unsealed,
)
from pixelmill.store.master_file import check_header, manifest_in, master_bytes
from pixelmill.store.parts import PARTS as PARTS
from pixelmill.store.validate import check_manifest
from pixelmill.version import VERSION

log = logging.getLogger(__name__)

MASTER = "vectors.h5"
MANIFEST_COPY = "manifest.json"
_OF_COPY = (
    "manifest.json, which is revision {revision} of {time}: an old file was put back. `pixelmill repair {store}` "
    "publishes the newer one."
)
_OF_REVISIONS = (
    "revision {revision} of {time}, all of which is there: files were put back over a newer store. Whoever writes next "
    "publishes that one again; to go on with the older, put it back in place of {store}, and not over it."
)
_REVISION = re.compile(rb'"revision":(\d{1,15}),')
_BEGINNING_BYTES = 1024
STALE_SECONDS = 60
"""So long may a network file system show files as they were (sshfs 20 s, NFS 60 s) before they count as old."""
_MOST_BYTES = 2**30


def home_of(folder: Path) -> Path:
    """Where the store in `folder` really is: elsewhere if its master is a link. Raises StoreError for a broken link."""
    master = folder / MASTER
    if not master.is_symlink():
        return folder
    real = master.resolve()
    if not real.is_file() or real.name != MASTER:
        raise StoreError(
            f"Expected a {MASTER} behind the link {master}. It leads to {real}, which is none or has another name; "
            "is a disk not mounted?"
        )
    return real.parent


def read_manifest(store: Path) -> Manifest:
    """The manifest of the snapshot published in folder `store`.

    Raises StoreError where there is no store, StoreTooNew for a newer format, StoreDamaged where the master is not, to
    the byte, what was written, or cannot be true. It is read without HDF5, which may crash the process at a file that
    is damaged or was made to.
    """
    try:
        return manifest_of_master(store)
    except StoreDamaged:
        # While another machine publishes, a network file system may show a new master with the size of the old one.
        found = revisions.newest(store) if is_shared(store) else None
        if found is None:
            raise
        return found


def manifest_of_master(store: Path) -> Manifest:
    """Like `read_manifest`, from the master and nothing else."""
    path = store / MASTER
    if not path.is_file():
        raise StoreError(
            f"Expected a store with a {MASTER} in {store}. Found none. "
            f"`pixelmill run SOURCE --store {store}` makes one."
        )
    try:
        content = _read_whole(path)
        check_header(path, content)
        return check_manifest(manifest_in(content))
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_DAMAGE:
            raise refused(path, error) from error
        raise StoreDamaged(f"{path} cannot be read ({error}). Run `pixelmill repair {store}`.") from error


def _read_whole(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than a master ever has")
    return path.read_bytes()


def publish(store: Path, manifest: Manifest) -> Manifest:
    """Make `manifest` the snapshot that readers of `store` see, atomically and durably. Returns it as published.

    Raises PublishedMeanwhile, with nothing published, where there is a later revision than that of `manifest` already.
    """
    published = manifest.model_copy(
        update={
            "pixelmill_version": VERSION,
            "revision": revisions.following(store, manifest),
            "published_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
    )
    _refuse_what_no_reader_takes(store, published)
    content = sealed(published)
    # All that takes time or space comes first: once the revision has its name, there are only names left to make.
    with (
        written_aside(store / MANIFEST_COPY, content) as copy,
        written_aside(store / MASTER, master_bytes(published)) as master,
    ):
        revisions.claim(store, published.revision, content)
        with _withdrawing(store, published.revision):
            # The copy of the manifest goes first: it may run ahead of the master, never behind what was acknowledged.
            put_in_place(copy, store / MANIFEST_COPY)
            put_in_place(master, store / MASTER)
    _put_right(store, published)
    revisions.forget_old(store, published.revision)
    return published


def standing(store: Path) -> Manifest:
    """The latest revision of the store, for whoever holds its lock and is to write. If a dead writer could not publish
    it to the end, that is done now.

    Raises StoreDamaged if the master is older than that: somebody has put it back, and nothing is written over it.
    """
    master = read_manifest(store)
    later = latest(store, master)
    if later is None:
        return master
    if older := put_back(store):
        raise StoreDamaged(f"{older} Nothing was written.")
    _put(store, later)
    return later


def put_back(store: Path) -> str:
    """In words, if the master is older than the copy of its manifest by more than a death between the two makes it."""
    return _lasting(store, lambda master: _older(store, master, read_manifest_copy(store), _OF_COPY))


def put_back_over(store: Path) -> str:
    """In words, if master and copy are older, by more than a death makes them, than a revision that has its name: the
    store was put back, but not in place of what there was."""
    return _lasting(store, lambda master: _older(store, master, latest(store, master), _OF_REVISIONS))


def _older(store: Path, master: Manifest, other: Manifest | None, words: str) -> str:
    if other is None or other.store_id != master.store_id or other.revision < master.revision + 2:
        return ""
    return (
        f"{store / MASTER} is revision {master.revision} of {master.published_at}, older than "
        f"{words.format(revision=other.revision, time=other.published_at, store=store)}"
    )


def _lasting(store: Path, told: Callable[[Manifest], str]) -> str:
    """What is told of the master, if that is not because others publish now, or a network shows old files as new."""
    deadline = time.monotonic() + (STALE_SECONDS if is_shared(store) else 0)
    while True:
        master = read_manifest(store)
        words = told(master)
        if not words or read_manifest(store).revision != master.revision:
            return ""
        if time.monotonic() >= deadline:
            return words
        time.sleep(1)


def old_copy(store: Path) -> Iterator[str]:
    """In words, if the copy of the manifest is older than the master: an old file was put back."""
    there, revision = (store / MANIFEST_COPY).is_file(), read_manifest(store).revision
    if there and 0 < _revision_of_copy(store) < revision:
        yield f"{store / MANIFEST_COPY} is older than {MASTER}: an old file was put back? It is written anew."


def latest(store: Path, master: Manifest | None) -> Manifest | None:
    """A revision later than the master's, with all its parts: it has its name, or the copy of the manifest tells of it.
    None if there is none."""
    after, store_id = (master.revision, master.store_id) if master else (0, "")
    found = revisions.newest(store, after=after, store_id=store_id)
    if _revision_of_copy(store) <= (found.revision if found else after):
        return found
    copy = read_manifest_copy(store)
    fits = copy and store_id in ("", copy.store_id) and revisions.has_its_parts(store, copy)
    return copy if fits else found


def _revision_of_copy(store: Path) -> int:
    """The number that stands at the beginning of the manifest's copy, without reading the rest; 0 for none."""
    try:
        with (store / MANIFEST_COPY).open("rb") as file:
            found = _REVISION.search(file.read(_BEGINNING_BYTES))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _put_right(store: Path, published: Manifest) -> None:
    """Should another machine have published meanwhile, let the master be the latest, not the one that was put last."""
    while later := revisions.newest(store, after=published.revision, store_id=published.store_id):
        _put(store, later)
        published = later


def _put(store: Path, manifest: Manifest) -> None:
    """Publish a revision that has its name, or that the copy of the manifest tells of."""
    log.warning("published to the end: revision %s of %s", manifest.revision, store)
    write_durably(store / MANIFEST_COPY, sealed(manifest))
    write_durably(store / MASTER, master_bytes(manifest))


@contextmanager
def _withdrawing(store: Path, revision: int) -> Iterator[None]:
    """Should a master not get its name, take back that of its revision and of the copy, where that can be done."""
    path, before = store / MANIFEST_COPY, None
    with suppress(OSError):
        before = path.read_bytes()
    try:
        yield
    except OSError:
        with suppress(StoreError, OSError):
            if before is not None and read_manifest(store).revision < revision:
                revisions.withdraw(store, revision)
                write_durably(path, before)
        raise


def _refuse_what_no_reader_takes(store: Path, manifest: Manifest) -> None:
    try:
        check_manifest(manifest)
    except ValueError as error:
        raise StoreError(f"Expected a snapshot of {store} that can be read. Nothing was published: {error}.") from error


def read_manifest_copy(store: Path) -> Manifest | None:
    """The manifest kept beside the master for `repair`, or None when that is unreadable as well.

    Raises StoreTooNew where a newer program wrote it.
    """
    path = store / MANIFEST_COPY
    try:
        return check_manifest(unsealed(_read_whole(path))) if path.is_file() else None
    except StoreTooNew:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_DAMAGE:
            raise refused(path, error) from error
        return None

"""Who publishes a revision: whoever makes its name first, whatever the locks of a file system say.

`revisions/<number>.json` is the manifest of that revision. The name is made by link(2), which gives it to one only,
also over a network; by O_EXCL where there are no links. Once made, its content is what the revision is, and whoever
comes next goes on from there. So two machines that both believe to hold the lock cannot publish over each other: the
second one fails, and begins again on top of the first one's.
"""

from __future__ import annotations

import errno
import secrets
from contextlib import suppress
from pathlib import Path

from pixelmill.errors import StoreError, StoreTooNew
from pixelmill.store.durable import NO_DAMAGE, make_folder_durably, refused, sync_folder, write_new, written_aside
from pixelmill.store.manifest import Manifest, unsealed
from pixelmill.store.parts import PARTS
from pixelmill.store.validate import check_manifest

REVISIONS = "revisions"
KEPT = 16
"""Revisions whose names are kept: enough for whoever began on top of one of these to find its number taken."""
_ENDING = ".json"
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EINVAL, errno.EACCES)


class PublishedMeanwhile(StoreError):
    """Another machine has published first. Nothing was published: begin again on top of its revision, as
    `StoreWriter.in_turn` does. Where what was decided before the lock no longer holds, that is `Overtaken`."""


def claim(store: Path, revision: int, content: bytes) -> None:
    """Make the name of a revision, for a file with `content`. Raises PublishedMeanwhile if it is somebody else's."""
    make_folder_durably(store / REVISIONS)
    path = _path(store, revision)
    with written_aside(path, content) as written:
        made = make_name(path, written, content)
        # What link says may be wrong over a network (link(2), BUGS); what the name leads to is not.
        if not made or path.read_bytes() != content or max(numbers(store)) > revision:
            raise _published_meanwhile(store, revision)
        try:
            written.unlink()
            sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                withdraw(store, revision)
            raise


def withdraw(store: Path, revision: int) -> None:
    """Give up a name that was claimed, because its snapshot could not be published."""
    _path(store, revision).unlink(missing_ok=True)
    sync_folder(store / REVISIONS)


def following(store: Path, manifest: Manifest) -> int:
    """The number of the revision after that of `manifest`. Raises PublishedMeanwhile if there is a later one already.

    Names that lead to no snapshot of this store are passed over: a dead writer's, or another store's.
    """
    if newest(store, after=manifest.revision, store_id=manifest.store_id):
        raise _published_meanwhile(store, manifest.revision + 1)
    return max([manifest.revision, *numbers(store)]) + 1


def newest(store: Path, *, after: int = -1, store_id: str = "") -> Manifest | None:
    """The latest revision after number `after` that has a name and all its parts; None if there is none."""
    later = sorted((number for number in numbers(store) if number > after), reverse=True)
    found = (read_revision(store, number, store_id) for number in later)
    return next((manifest for manifest in found if manifest and has_its_parts(store, manifest)), None)


def numbers(store: Path) -> set[int]:
    """The revisions that have a name. A network's list of a folder may be old: later names are asked for one by one."""
    found: set[int] = set()
    with suppress(FileNotFoundError, NotADirectoryError):
        found |= {int(path.stem) for path in (store / REVISIONS).iterdir() if _is_number(path)}
        while _path(store, max(found, default=0) + 1).exists():
            found.add(max(found, default=0) + 1)
    return found


def read_revision(store: Path, number: int, store_id: str = "") -> Manifest | None:
    """The manifest of a revision; None if its name leads to nothing whole, or to another store's.

    Raises StoreTooNew where a newer program wrote it.
    """
    try:
        found = check_manifest(unsealed(_path(store, number).read_bytes()))
    except StoreTooNew:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_DAMAGE:
            raise refused(_path(store, number), error) from error
        return None
    return found if found.revision == number and store_id in ("", found.store_id) else None


def has_its_parts(store: Path, manifest: Manifest) -> bool:
    """Whether every part that a manifest uses is there with its size."""
    try:
        return all(
            (store / PARTS / name).stat().st_size == manifest.parts[name].bytes for name in manifest.used_parts()
        )
    except OSError:
        return False


def forget_old(store: Path, revision: int) -> None:
    """Drop the names of revisions long before `revision`; one that cannot be dropped now goes another time."""
    with suppress(OSError):
        for number in numbers(store):
            if number <= revision - KEPT:
                _path(store, number).unlink(missing_ok=True)


def check_names_exclude(store: Path) -> None:
    """Make sure that a name can be made once only. Raises StoreError on a file system where it can be made twice."""
    tried, name = (store / f".{secrets.token_hex(4)}.tmp" for _ in range(2))
    try:
        write_new(tried, b"tried")
        first, second = (make_name(name, tried, b"tried") for _ in range(2))
    finally:
        name.unlink(missing_ok=True)
        tried.unlink(missing_ok=True)
    if not first or second:
        raise StoreError(
            f"Expected a file system under {store} on which a name can be made once only. Found that it "
            f"{'can be made twice' if first else 'cannot be made'}, so two machines could publish over each other. "
            "Nothing was written; keep the store on a local disk (ext4, XFS, Btrfs, ZFS)."
        )


def make_name(path: Path, written: Path, content: bytes) -> bool:
    """Make the name `path` for the file `written` with `content`; False if there is such a name already."""
    try:
        path.hardlink_to(written)
    except FileExistsError:
        return False
    except OSError as error:
        if path.exists():  # sshfs says EPERM for a name that there is
            return False
        if error.errno not in _NO_LINKS:
            raise
        return _made_alone(path, content)
    return True


def _made_alone(path: Path, content: bytes) -> bool:
    try:
        write_new(path, content)
    except FileExistsError:
        return False
    return True


def _published_meanwhile(store: Path, revision: int) -> PublishedMeanwhile:
    return PublishedMeanwhile(
        f"Expected to publish revision {revision} of {store}. Another machine has published it first: its locks do not "
        "reach this one. Run again, and let one machine at a time write to the store."
    )


def _is_number(path: Path) -> bool:
    return path.suffix == _ENDING and path.stem.isascii() and path.stem.isdigit() and len(path.stem) < 16


def _path(store: Path, revision: int) -> Path:
    return store / REVISIONS / f"{revision}{_ENDING}"

"""What is known of the file system under a store that its owner should know too."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from pixelmill.store.durable import NO_FOLDER_SYNC, sync_folder

MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = {"tmpfs", "ramfs"}
_SHARED = re.compile(r"nfs\d?|cifs|smb\w*|9p|fuse(blk|\..+)?|vboxsf|virtiofs|afs|ceph|glusterfs|lustre|prl_fs|vmhgfs")
_LOCAL_FUSE = {"fuseblk", "fuse.fuse-overlayfs"}
_NO_BARRIER = {"nobarrier", "barrier=0", "volatile"}
"""Options with which fsync does not reach the disk (ext4 and XFS; overlayfs)."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a file system is mounted, its type as the kernel names it, and its options."""

    point: str
    type: str
    options: frozenset[str] = frozenset()


def warnings_for(folder: Path) -> tuple[str, ...]:
    """What the owner of a store in `folder` should know about its file system; nothing for a local disk."""
    mount = mount_of(folder)
    told = [] if mount is None else _of_mount(folder, mount)
    if not _folders_can_be_synced(folder):
        told.append(
            f"{folder}: the file system cannot make names durable (fsync of a folder is refused): a power cut may take "
            "rows that a run has reported. Keep the store on a local disk (ext4, XFS, Btrfs, ZFS)."
        )
    return tuple(told)


def is_shared(folder: Path) -> bool:
    """Whether the file system under `folder` may be that of another machine, which writes there as well."""
    mount = mount_of(folder)
    return mount is not None and _is_shared(mount)


def clock(folder: Path) -> float:
    """Now, in Unix seconds, by the clock that stamps files in `folder`: that of its server, if it is shared."""
    if not is_shared(folder):
        return time.time()
    probe = folder / f".{secrets.token_hex(4)}.tmp"
    try:
        probe.write_bytes(b"now")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def mount_of(folder: Path, mounts: Path = MOUNTS) -> Mount | None:
    """The mount that `folder` lies on; None where the system has no such list."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = Path(os.path.realpath(folder))
    holding = [mount for mount in map(_parsed, lines) if mount and real.is_relative_to(mount.point)]
    # Of mounts at one point, the last one listed lies on top.
    return max(enumerate(holding), key=lambda m: (len(Path(m[1].point).parts), m[0]))[1] if holding else None


def _parsed(line: str) -> Mount | None:
    # 36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue (proc_pid_mountinfo(5))
    before, _, after = line.partition(" - ")
    left, right = before.split(" "), after.split(" ")
    if len(left) < 6 or len(right) < 3:
        return None
    point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), left[4])
    return Mount(point, right[0], frozenset([*left[5].split(","), *right[-1].split(",")]))


def _of_mount(folder: Path, mount: Mount) -> list[str]:
    if mount.type in _IN_MEMORY:
        return [f"{folder} lies in memory ({mount.type}): it is gone after a restart. Keep a store on a disk."]
    if _is_shared(mount):
        return [
            f"{folder} lies on a network or shared file system ({mount.type}), where locks and fsync are only as good "
            "as its server's. Keep the store on a local disk: only the run writes to it, and workers need not see it."
        ]
    if mount.options & _NO_BARRIER:
        option = min(mount.options & _NO_BARRIER)
        return [f"{folder}: {mount.point} is mounted with {option}: a power cut may take rows that a run has reported."]
    return []


def _is_shared(mount: Mount) -> bool:
    return bool(_SHARED.fullmatch(mount.type)) and mount.type not in _LOCAL_FUSE


def _folders_can_be_synced(folder: Path) -> bool:
    try:
        sync_folder(folder, strict=True)
    except OSError as error:
        return error.errno not in (*NO_FOLDER_SYNC, errno.EBADF)
    return True

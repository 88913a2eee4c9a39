"""What is known of a weights file: its sha256, and the stamp that says whether the file is still the one hashed."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file system says about a file; any change of content changes it (ctime cannot be set back)."""

    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of `path` now. Raises OSError."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Record:
    """The sha256 of a file, and its stamp when it was hashed; no stamp: expected, but not hashed under its name yet."""

    url: str
    sha256: str
    stamp: Stamp | None

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in `path`, or None if there is none that can be read."""
        try:
            raw = json.loads(path.read_text("utf-8"))
            stamp = Stamp(**raw["stamp"]) if raw["stamp"] else None
            return cls(str(raw["url"]), str(raw["sha256"]), stamp)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, path: Path) -> None:
        """Replace `path` by this record, whole or not at all."""
        write_json(path, asdict(self))


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` as JSON, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def touch(path: Path) -> None:
    """Note that the file of a record was used now; a cache that is shared read-only notes nothing."""
    with suppress(OSError):
        os.utime(path)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A disk that remembers what it was told and what it was told to keep: what a power cut may leave, by the letter.

The bytes of a file are kept from fsync of that file on, names (create, rename, link, unlink) from fsync of their folder on.
Of all else any part may be lost, in any order, writes also in part. POSIX promises no more, and file systems differ.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from random import Random

import pytest

from tests.support.shim import Call, Kind

Change = tuple[Kind, int, bytes]
Contents = dict[str, bytes | None]
"""Everything on a disk: bytes by path, None for a folder."""
SECTORS = (512, 4096)


class File:
    """A file's bytes now, those that are durable, and what was done since."""

    def __init__(self) -> None:
        self.now = bytearray()
        self.durable = b""
        self.pending: list[Change] = []

    def change(self, change: Change) -> None:
        _apply(self.now, change)
        self.pending.append(change)

    def sync(self) -> None:
        self.durable, self.pending = bytes(self.now), []

    def after_loss(self, random: Random) -> bytes:
        """The durable bytes with some of what was done since."""
        result, share, sector = bytearray(self.durable), random.choice((0.0, 0.5, 0.9, 1.0)), random.choice(SECTORS)
        for change in self.pending:
            for piece in _torn(change, sector):
                if random.random() < share:
                    _apply(result, piece)
        return bytes(result)


Entry = File | None
"""What a name leads to: a file, or a folder (None)."""
NameChange = dict[str, Entry | str]
"""What names become together; 'gone' for a name that is taken away."""


class Disk:
    """The files below a root: `do` calls on it, then ask what is there `now`, or `after_loss` of power.

    `forgets` names the calls to fsync that do nothing, by path: the control, which must lose something.
    """

    def __init__(self, forgets: Callable[[Entry], bool] = lambda entry: False) -> None:
        self.now: dict[str, Entry] = {".": None}
        self.durable: dict[str, Entry] = {".": None}
        self._pending: dict[str, list[NameChange]] = {}
        self._forgets = forgets

    def do(self, call: Call) -> None:
        """Carry out one call as it was logged."""
        if call.kind is Kind.CREATE:
            self._rename({call.path: File()})
        elif call.kind is Kind.MAKE_FOLDER:
            self._rename({call.path: None})
        elif call.kind is Kind.UNLINK:
            self._rename({call.path: "gone"})
        elif call.kind is Kind.RENAME:
            self._rename({call.path: "gone", call.second: self.now[call.path]})
        elif call.kind is Kind.LINK:
            self._rename({call.second: self.now[call.path]})
        elif call.kind is Kind.SYNC:
            self._sync(call.path)
        elif call.kind is not Kind.FAILED and call.path in self.now:  # not one that is deleted, and written to still
            self._file(call.path).change((call.kind, call.offset, call.data))

    def _file(self, path: str) -> File:
        file = self.now[path]
        assert file is not None, f"{path} is a folder"
        return file

    def _rename(self, change: NameChange) -> None:
        (folder,) = {str(PurePosixPath(path).parent) for path in change}
        _apply_names(self.now, change)
        self._pending.setdefault(folder, []).append(change)

    def _sync(self, path: str) -> None:
        entry = self.now.get(path)
        if path not in self.now or self._forgets(entry):
            return
        if entry is not None:
            entry.sync()
        else:
            for change in self._pending.pop(path, []):
                _apply_names(self.durable, change)

    def contents(self) -> Contents:
        """Everything as it is now."""
        return {path: None if entry is None else bytes(entry.now) for path, entry in self.now.items()}

    def after_loss(self, random: Random) -> Contents:
        """Everything as a power cut may leave it now."""
        names, share = dict(self.durable), random.choice((0.0, 0.5, 0.9, 1.0))
        for changes in self._pending.values():
            for change in changes:
                if random.random() < share:
                    _apply_names(names, change)
        return {path: None if entry is None else entry.after_loss(random) for path, entry in names.items()}


def put(contents: Contents, root: Path) -> None:
    """Make `root`, which is not there, hold `contents`; what lies in a folder that is lost is lost with it."""
    for path, content in sorted(contents.items(), key=lambda item: len(PurePosixPath(item[0]).parts)):
        target = root / path
        if not target.parent.is_dir():
            continue
        if content is None:
            target.mkdir()
        else:
            target.write_bytes(content)


def _apply_names(names: dict[str, Entry], change: NameChange) -> None:
    for path, entry in change.items():
        if isinstance(entry, str):
            names.pop(path, None)
        else:
            names[path] = entry


def _apply(content: bytearray, change: Change) -> None:
    kind, offset, data = change
    end = offset + len(data)
    content.extend(bytes(max(end - len(content), 0)))
    if kind is Kind.TRUNCATE:
        del content[end:]
    else:
        content[offset:end] = data


def _torn(change: Change, sector: int) -> Iterator[Change]:
    kind, offset, data = change
    if kind is not Kind.WRITE:
        yield change
    end = offset + len(data) if kind is Kind.WRITE else offset
    while offset < end:
        size = min(sector - offset % sector, end - offset)
        yield kind, offset, data[:size]
        offset, data = offset + size, data[size:]


@contextmanager
def small_disk(point: Path, kilobytes: int) -> Iterator[None]:
    """A real file system of that size at `point`. Skips where mounting is denied."""
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(point)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root and the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)

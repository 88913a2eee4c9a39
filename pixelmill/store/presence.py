"""Who else has a store open for writing, and whether the locks of its file system reach them.

Each writer has a file in `.writers/`, which it keeps locked while it lives. Where that lock can be had although the
writer lives, locks do not reach from machine to machine (sshfs, NFS with `nolock`, SMB with `nobrl`): SQLite would not
survive two writers, so the later one is refused before it writes. No clocks are compared: a writer elsewhere lives if
its file changes while it is watched. (Whether a run lives is asked in `living.py`, where a lock is enough.)
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pixelmill.errors import StoreError
from pixelmill.store.durable import make_folder_durably, write_new
from pixelmill.store.filesystem import is_shared
from pixelmill.store.revisions import make_name

WRITERS = ".writers"
BEAT_SECONDS = 5.0
WATCHED_SECONDS = 45.0
"""How long a writer elsewhere is watched: some beats more than a network file system shows a file as it was."""
_BEAT_BYTES = 20


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, as its file names it: kernel and process namespace, number and start, its machine for people, and
    where it sees its file."""

    kernel: str
    process: str
    host: str
    place: str

    @classmethod
    def this(cls, place: Path) -> Owner:
        host = socket.gethostname() or "?"
        return cls(this_kernel(), f"{os.getpid()}.{_started(os.getpid())}", host, os.path.realpath(place))

    @classmethod
    def parsed(cls, content: bytes) -> Owner:
        _, kernel, process, host, place = [*os.fsdecode(content).removesuffix("\n").split(" ", 4), *("",) * 5][:5]
        return cls(kernel, process, host, place)

    def line(self) -> bytes:
        return os.fsencode(f"{self.kernel} {self.process} {self.host} {self.place}\n")

    def is_seen_to_live(self, name: str, mine: Path) -> bool | None:
        """Whether its process lives and has the file `name` of this folder open, where `mine` is one as well; None
        where that cannot be seen from here. A copy of a store has such files of writers of the original."""
        if self.kernel != this_kernel():
            return None
        number, _, started = self.process.partition(".")
        if number == str(os.getpid()):  # within a process locks do reach
            return False
        if not (number.isdigit() and _started(int(number)) == started != ""):
            return False
        return _same(Path(self.place) / mine.name, mine) and _has_open(int(number), Path(self.place) / name)


class Presence:
    """This process among the writers of a store. Make it with the store's lock held; `leave` it at the end.

    Raises StoreError where a writer is there whom the locks do not reach.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / WRITERS
        self._watched = is_shared(folder)
        self._left = threading.Event()
        make_folder_durably(self._folder)
        self._path = self._enter()
        self._descriptor = os.open(self._path, os.O_RDWR)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._look_round()
        except Exception:
            self.leave()
            raise
        if self._watched:
            threading.Thread(target=self._beat, daemon=True).start()

    def leave(self) -> None:
        """Be no writer any more."""
        if not self._left.is_set():
            self._left.set()
            with suppress(OSError):  # the next writer sees that this process is gone
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)

    def __enter__(self) -> Presence:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def check(self) -> None:
        """Raise StoreError if another machine has taken this process for dead, and the store over."""
        if self._watched and not self._path.exists():
            raise StoreError(
                f"Expected to be a writer of {self._folder.parent} still. Another machine saw no sign of life of this "
                "process for a while (did it sleep?) and has taken the store over. Nothing was written; run again."
            )

    def _enter(self) -> Path:
        """A file of its own, under a number higher than those of all who were here before."""
        mine = self._folder / f".{secrets.token_hex(4)}.tmp"
        content = b"0" * _BEAT_BYTES + b" " + Owner.this(self._folder).line()
        try:
            # Before the list: that of a network is made anew once the folder was changed here.
            write_new(mine, content)
            number = max((_number(path) for path in self._folder.iterdir()), default=0) + 1
            while not make_name(path := self._folder / f"{number}", mine, content):
                number += 1
        finally:
            mine.unlink(missing_ok=True)
        return path

    def _look_round(self) -> None:
        for path in self._folder.iterdir():
            if 0 < _number(path) < _number(self._path) and (owner := self._out_of_reach(path)):
                raise StoreError(
                    f"Expected locks that reach every writer of {self._folder.parent}. {owner.host} (process "
                    f"{owner.process.partition('.')[0]}) writes to it now, and the file system gives its lock to this "
                    "process as well: two writers would spoil each other's records. Nothing was written. Wait until "
                    "that one has finished, or keep the store where locks reach (a local disk, NFS without `nolock`)."
                )

    def _out_of_reach(self, path: Path) -> Owner | None:
        """The owner of a writer's file, if it lives and its lock is not kept from this process. A dead one's goes."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except (FileNotFoundError, PermissionError):  # gone, or another user's, of which nothing can be said
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = Owner.parsed(os.read(descriptor, 8192))
            if self._lives(owner, path):
                return owner
            path.unlink(missing_ok=True)
        except (BlockingIOError, PermissionError):
            pass
        finally:
            os.close(descriptor)
        return None

    def _lives(self, owner: Owner, path: Path) -> bool:
        seen = owner.is_seen_to_live(path.name, self._path)
        # What locks of a disk of this machine let go of is dead, wherever its process ran.
        return _changes(path) if seen is None and self._watched else bool(seen)

    def _beat(self) -> None:
        beats = 0
        while not self._left.wait(BEAT_SECONDS):
            beats += 1
            with suppress(OSError):
                os.pwrite(self._descriptor, f"{beats:0{_BEAT_BYTES}}".encode(), 0)
                os.fsync(self._descriptor)


def _changes(path: Path) -> bool:
    before, deadline = _content(path), time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS)
        now = _content(path)
        if not now:
            return False
        if now != before:
            return True
    return False


def _same(there: Path, mine: Path) -> bool:
    """Whether a file just made is seen elsewhere too: two mounts of one folder, not a folder and its copy."""
    return bool(_content(mine)) and _content(there) == _content(mine)


def _has_open(process: int, path: Path) -> bool:
    """Whether a process has a file open, as far as this one may look."""
    try:
        return any(_target(link) == str(path) for link in Path(f"/proc/{process}/fd").iterdir())
    except PermissionError:
        return True


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _number(path: Path) -> int:
    return int(path.name) if path.name.isascii() and path.name.isdigit() else 0


def this_kernel() -> str:
    """Stands for the running kernel and the process namespace here; others give other processes the same numbers."""
    with suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname() or "?"


def _started(process: int) -> str:
    """When a process began, in ticks of this kernel; '' if there is no such process (proc_pid_stat(5))."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""

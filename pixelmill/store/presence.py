"""Who else has a store open for writing, and whether the locks of its file system reach them.

Each writer has a file in `.writers/`, which it keeps locked while it lives. Where that lock can be had although the
writer lives, locks do not reach from machine to machine (sshfs, NFS with `nolock`, SMB with `nobrl`): SQLite would not
survive two writers, so the later one is refused before it writes. No clocks are compared: a writer elsewhere lives if
its file changes while it is watched.
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
    """A process, as its file names it: kernel and process namespace, number and start, and its machine for people."""

    kernel: str
    process: str
    host: str

    @classmethod
    def this(cls) -> Owner:
        return cls(_kernel(), f"{os.getpid()}.{_started(os.getpid())}", socket.gethostname() or "?")

    @classmethod
    def parsed(cls, content: bytes) -> Owner:
        _, kernel, process, host, *_ = [*content.decode(errors="replace").split(), "", "", "", ""]
        return cls(kernel, process, host)

    def line(self) -> bytes:
        return f"{self.kernel} {self.process} {self.host}\n".encode()

    def is_seen_to_live(self) -> bool | None:
        """Whether its process lives; None where that cannot be seen from here."""
        if self.kernel != _kernel():
            return None
        number, _, started = self.process.partition(".")
        return number.isdigit() and _started(int(number)) == started != ""


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
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
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
        content = b"0" * _BEAT_BYTES + b" " + Owner.this().line()
        write_new(
            mine, content
        )  # first of all: a network's list of a folder is asked for anew when it was changed here
        try:
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
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = Owner.parsed(os.read(descriptor, 1024))
            if _lives(owner, path, self._watched):
                return owner
            path.unlink(missing_ok=True)
        except (BlockingIOError, PermissionError):
            pass
        finally:
            os.close(descriptor)
        return None

    def _beat(self) -> None:
        beats = 0
        while not self._left.wait(BEAT_SECONDS):
            beats += 1
            with suppress(OSError):
                os.pwrite(self._descriptor, f"{beats:0{_BEAT_BYTES}}".encode(), 0)
                os.fsync(self._descriptor)


def _lives(owner: Owner, path: Path, watched: bool) -> bool:
    seen = owner.is_seen_to_live()
    # What locks of a disk of this machine let go of is dead, wherever its process ran.
    return _changes(path) if seen is None and watched else bool(seen)


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


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _number(path: Path) -> int:
    return int(path.name) if path.name.isascii() and path.name.isdigit() else 0


def _kernel() -> str:
    """Stands for the running kernel and the process namespace here; others give other processes the same numbers."""
    with suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname() or "?"


def _started(process: int) -> str:
    """When a process began, in ticks of this kernel; '' if there is no such process (proc_pid_stat(5))."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""

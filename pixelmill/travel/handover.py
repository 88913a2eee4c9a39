"""Where messages between a run and its workers lie: a folder, or an address that fsspec knows."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

from pixelmill.errors import HandoverUnreachable, PixelmillError, StoreError
from pixelmill.sources.address import is_address, is_http, shown
from pixelmill.sources.files import FileChanged, Files
from pixelmill.sources.fsspec import filesystem_files
from pixelmill.sources.local import LocalFiles
from pixelmill.sources.ranges import RangeFile
from pixelmill.sources.retry import retried
from pixelmill.store.durable import make_folder_durably, write_durably

T = TypeVar("T")
DELAYS: Final = (1.0, 4.0, 15.0)
"""Seconds before each further try: what is handed over took a while to make. What asks by itself has tried for some
seconds each time."""
SECONDS: Final = 120.0
"""How long an answer is waited for, further tries included; for what is written, also as long as a slow line takes."""

_TRIES: Final = 5


class Handover(Protocol):
    """Objects by name, `/` between the parts of one. Each is there whole or not at all.

    All raise StoreError, in words, for a place that cannot be written, read or reached: HandoverUnreachable where that
    may pass by itself.
    """

    def put(self, name: str, data: bytes) -> None:
        """Hand one over, in place of what has this name."""

    def get(self, name: str) -> bytes | None:
        """None if there is none (any more)."""

    def names(self, below: str) -> Iterator[str]:
        """The names that begin with `below/`, sorted; all for ''. Only what is there whole."""

    def remove(self, name: str) -> None:
        """Remove one, if it is there."""

    def clear(self, below: str) -> None:
        """Remove all that begin with `below/`, and what somebody who died left half-written there."""


def handover_at(place: str, seconds: float | None = None) -> FolderHandover | ObjectHandover:
    """The hand-over place at a folder or an address, whose answers are waited for so long, if not for SECONDS. Raises
    StoreError for an address that cannot be written to."""
    return ObjectHandover(place, seconds) if is_address(place) else FolderHandover(Path(place))


class FolderHandover:
    """A folder, which the run and its workers see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, data: bytes) -> None:
        with self._in_words(f"hand over {name}"):
            try:
                self._write(self.folder / name, data)
            except (OSError, StoreError) as error:
                if not isinstance(error.__cause__ or error, FileNotFoundError):
                    raise
                self._write(self.folder / name, data)  # who removed what lay beside it took the folder away in between

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        make_folder_durably(path.parent)
        write_durably(path, data)

    def get(self, name: str) -> bytes | None:
        with self._in_words(f"read {name}"), suppress(FileNotFoundError, NotADirectoryError):
            return retried((self.folder / name).read_bytes)  # of another machine's disk, what was replaced is "stale"
        return None

    @contextmanager
    def opened(self, name: str) -> Iterator[RangeFile | None]:
        """One to read pieces of, or None. Raises StoreError, at the end at the latest, where it was replaced meanwhile:
        what was read may be of both."""
        with self._in_words(f"read {name}"), _at_rest(LocalFiles(), str(self.folder / name)) as file:
            yield file

    def names(self, below: str) -> Iterator[str]:
        with self._in_words(f"list {below or 'what was handed over'}"):
            found = [path for folder, _, files in os.walk(self.folder / below, onerror=_told)
                     for name in files if not name.startswith(".")
                     for path in [Path(folder, name).relative_to(self.folder).as_posix()]]  # fmt: skip
        yield from sorted(found)

    def remove(self, name: str) -> None:
        path = self.folder / name
        with self._in_words(f"remove {name}"), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        self._remove_empty(path.parent)

    def clear(self, below: str) -> None:
        with self._in_words(f"remove {below or 'what was handed over'}"):
            _remove_all(self.folder / below)
        self._remove_empty((self.folder / below).parent)

    def clear_halves(self, older: float) -> None:
        """Remove what somebody who died left half-written, and to which nobody has written for so many seconds."""
        with self._in_words("remove what is half-written"):
            for folder, _, files in os.walk(self.folder, topdown=False):
                for path in (Path(folder, name) for name in files if name.startswith(".") and name.endswith(".tmp")):
                    with suppress(FileNotFoundError):
                        if time.time() - path.stat().st_mtime > older:
                            path.unlink()
                            self._remove_empty(path.parent)

    def _remove_empty(self, folder: Path) -> None:
        with suppress(OSError):  # others lie there still
            while folder.is_relative_to(self.folder) and folder != self.folder:
                folder.rmdir()
                folder = folder.parent

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, StoreError) as error:
            raise _unusable(what, str(self.folder), error) from error


class ObjectHandover:
    """A place at an address. One object is written at once, so there is never half of one."""

    def __init__(self, address: str, seconds: float | None = None) -> None:
        self.address = address.rstrip("/")
        try:
            if is_http(address):
                raise StoreError("HTTP gives files and takes none.")
            self._files = filesystem_files(self.address, DELAYS, seconds or SECONDS)
        except (OSError, PixelmillError) as error:
            raise _unusable("hand over messages", shown(self.address), error) from error

    def put(self, name: str, data: bytes) -> None:
        self._in_words(f"hand over {name}", lambda: self._files.write(self._at(name), data))

    def get(self, name: str) -> bytes | None:
        return self._in_words(f"read {name}", lambda: _if_there(lambda: self._files.whole(self._at(name))))

    @contextmanager
    def opened(self, name: str) -> Iterator[RangeFile | None]:
        """As that of a folder."""
        try:
            with _at_rest(self._files, self._at(name)) as file:
                yield file
        except OSError as error:
            raise _unusable(f"read {name}", shown(self.address), error) from error

    def names(self, below: str) -> Iterator[str]:
        start = f"{below}/" if below else ""
        found = self._in_words(
            f"list {below or 'what was handed over'}",
            lambda: _if_there(lambda: sorted(start + path for path, _ in self._files.walk(self._at(below)))),
        )
        yield from found or ()

    def remove(self, name: str) -> None:
        self._in_words(f"remove {name}", lambda: _if_there(lambda: self._files.remove(self._at(name))))

    def clear(self, below: str) -> None:
        for name in self.names(below):
            self.remove(name)

    def clear_halves(self, older: float) -> None:
        """There are none."""

    def _at(self, name: str) -> str:
        return f"{self.address}/{name}".rstrip("/")

    def _in_words(self, what: str, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            raise _unusable(what, shown(self.address), error) from error


def _if_there(act: Callable[[], T]) -> T | None:
    """What `act` gives, or None for what is not there. A bucket that is not there is an error all the same."""
    try:
        return act()
    except FileNotFoundError as error:
        if "bucket" in str(error).lower():
            raise
        return None


@contextmanager
def _at_rest(files: Files, address: str) -> Iterator[RangeFile | None]:
    """A file, if it is there. Raises FileChanged where it is another one in the end."""
    before = _if_there(lambda: files.status(address))
    if before is None:
        yield None
        return
    try:
        yield RangeFile(files, address, before.size)
    finally:
        if _if_there(lambda: files.status(address)) != before:
            raise FileChanged("It was replaced while it was read")


def _remove_all(folder: Path) -> None:
    """Remove a folder, into which somebody may write meanwhile."""
    for left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or (not left and folder.exists()):
                raise
        if not folder.exists():
            return


def _told(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # removed meanwhile
        raise error


def _unusable(what: str, place: str, error: Exception) -> StoreError:
    reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
    kind = HandoverUnreachable if _may_pass(error) else StoreError
    return kind(
        f"Expected to {what} at {place}. {reason}. See to that, or name another folder or address in [run] handover."
    )


def _may_pass(error: BaseException) -> bool:
    """Whether it may pass by itself: a network or a server that is away, no permission or place that is missing."""
    cause = error.__cause__ if isinstance(error, PixelmillError) else error
    lasting = (PermissionError, FileNotFoundError, NotADirectoryError, PixelmillError)
    return isinstance(cause, OSError) and not isinstance(cause, lasting) and cause.errno != errno.EROFS

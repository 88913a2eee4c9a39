"""Which image files a SOURCE holds: walked in a stable order, recognised by content, each path once, never hanging."""

# A path is kept as the file system spells it, and a Path an entry would double the time.
# ruff: noqa: PTH100, PTH110, PTH116, PTH118, PTH119, PTH120, PTH121, PTH123

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pixelmill.errors import SourceError
from pixelmill.images.formats import HEAD, has_image_extension, sniff

SKIPPED_FOLDERS: Final = frozenset(
    {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
)
"""Folders that storage devices and desktops make for themselves. Names that start with a dot are skipped as well."""

_SKIPPED: Final = frozenset(name + "/" for name in SKIPPED_FOLDERS)
_new = tuple.__new__
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Problem = Callable[[str, str], None]
"""Called with an absolute path and the reason why it could not be looked at."""


class FoundFile(NamedTuple):
    """A regular file as the walk saw it. A tuple, because a dataclass would cost a third of the walk.

    `source` is the absolute source root, `path` is relative to it. Both are decoded by `os.fsdecode`, so that
    `os.fsencode` gives the exact bytes back. Times are in nanoseconds.
    """

    source: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def absolute(self) -> str:
        """The path to open."""
        return f"{self.source.removesuffix('/')}/{self.path}"

    @property
    def encoded(self) -> bytes:
        """The path to open, as the file system spells it: what os.fsencode gives, in a third of the time."""
        return self.absolute.encode(_ENCODING, _ERRORS)


@dataclass(frozen=True, slots=True)
class Source:
    """A SOURCE of the command line. `root` is the absolute folder of a folder, else the absolute path of the file."""

    kind: Literal["folder", "file", "list"]
    root: str
    given: str

    @property
    def file(self) -> str:
        """The absolute path of the file or list that was given."""
        return os.path.join(self.root, os.path.basename(self.given))


def parse_source(text: str) -> Source:
    """The folder, file or `@list` that `text` names. Raises SourceError with the reason if there is none."""
    listed = text.startswith("@")
    name = text[1:] if listed else text
    mode = _mode(name, text)
    if stat.S_ISDIR(mode) and not listed:
        return Source("folder", _absolute(name), text)
    if not stat.S_ISREG(mode):
        expected = "a text file of paths" if listed else "a regular file or a folder"
        raise SourceError(f"Expected {expected}. Got {text!r}, which is {_kind(mode)}.")
    return Source("list" if listed else "file", os.path.dirname(_absolute(name)), text)


def discover(
    sources: Sequence[str],
    *,
    known: Callable[[FoundFile], bool] = lambda _: False,
    on_problem: Problem = lambda _path, _reason: None,
) -> Discovery:
    """The image files of all `sources`, as an iterator that also counts. Raises SourceError before anything is walked.

    Files given by name come first, whatever they hold. Then the folders: every regular file that `known` accepts by
    its name, size and times, unopened; and of the others, those that are images by content or by extension.
    """
    return Discovery([parse_source(text) for text in sources], known, on_problem)


class Discovery(Iterator[FoundFile]):
    """An iterator over found files. When it is exhausted, `skipped` is how many files were no images, and `empty`
    lists the source folders, as given, that held nothing at all: a disk may not be mounted there."""

    def __init__(self, sources: Sequence[Source], known: Callable[[FoundFile], bool], on_problem: Problem) -> None:
        self.skipped = 0
        self.empty: list[str] = []
        self._known = known
        self._problem = on_problem
        self._folders: set[tuple[int, int]] = set()
        self._roots = {os.path.join(source.root, ""): source.given for source in sources if source.kind == "folder"}
        self._named: set[str] = set()
        self._files = self._all(sources)

    def __next__(self) -> FoundFile:
        return next(self._files)

    def __iter__(self) -> Iterator[FoundFile]:
        return self._files

    def close(self) -> None:
        """Give the walk up before it is exhausted, and close what it has open."""
        self._files.close()

    def _all(self, sources: Sequence[Source]) -> Generator[FoundFile, None, None]:
        walks = {"file": self._file, "list": self._list, "folder": self._folder}
        for source in sorted(sources, key=lambda source: source.kind == "folder"):
            yield from walks[source.kind](source)

    def _file(self, source: Source) -> Iterator[FoundFile]:
        yield from self._explicit(source.root, source.file)

    def _list(self, source: Source) -> Iterator[FoundFile]:
        try:
            with open(source.file, "rb") as lines:
                for path in _paths(lines, source.root):
                    yield from self._explicit(source.root, path)
        except OSError as error:
            self._problem(source.file, _words(error))

    def _explicit(self, root: str, path: str) -> Iterator[FoundFile]:
        """A file that was named is yielded whatever it holds, and quarantined with a reason if that is no image."""
        if path in self._named:
            return
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            return self._problem(path, _words(error))
        if not stat.S_ISREG(status.st_mode):
            return self._problem(path, f"Expected a regular file, but it is {_kind(status.st_mode)}.")
        self._named.add(path)
        inside = path.startswith(os.path.join(root, ""))
        yield _found(root if inside else os.path.dirname(path), path, status)

    def _folder(self, source: Source) -> Iterator[FoundFile]:
        """Real folders first, then those behind symbolic links, so that a file is known by its real path."""
        links = [""]
        for start in links:
            yield from self._walk(source.root, start, links)

    def _walk(self, root: str, start: str, links: list[str]) -> Iterator[FoundFile]:
        """Files below `root/start` in the order of their paths; symbolic links to folders are added to `links`."""
        stack: list[tuple[str, list[str] | None]] = [(start, None)]
        while stack:
            prefix, names = stack.pop()
            folder = os.path.join(root, prefix)
            with self._opened(folder) as descriptor:
                if descriptor is None:
                    continue
                names = names or self._names(descriptor, folder)
                yield from self._files_in(descriptor, root, prefix, names, links)
            if names:
                inner = prefix + names.pop()
                stack += [(prefix, names), (inner, None)] if names else [(inner, None)]

    def _files_in(self, folder: int, root: str, prefix: str, names: list[str], links: list[str]) -> Iterator[FoundFile]:
        """The files at the end of `names`, which they are taken off, up to the first that is a folder's."""
        known, named, recognised, status_of, regular = self._known, self._named, self._recognised, os.stat, stat.S_ISREG
        while names and names[-1][-1] != "/":
            name = names.pop()
            path = prefix + name
            try:
                status = status_of(name, dir_fd=folder)
            except OSError as error:
                self._unseen(os.path.join(root, path), error)
                continue
            if regular(status.st_mode):
                found = _new(FoundFile, (root, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
                if not (named and found.absolute in named) and (known(found) or recognised(found, folder)):
                    yield found
            elif stat.S_ISDIR(status.st_mode):
                links.append(path + "/")
            else:
                self.skipped += 1

    @contextmanager
    def _opened(self, folder: str) -> Iterator[int | None]:
        try:
            descriptor = os.open(folder, _OPEN | os.O_DIRECTORY)
        except OSError as error:
            self._problem(folder, _words(error))
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _names(self, descriptor: int, folder: str) -> list[str]:
        """Names in a folder, last first; a folder's ends in a slash, so that paths sort bytewise. Empty if visited."""
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) in self._folders:
            return []
        self._folders.add((status.st_dev, status.st_ino))
        try:
            with os.scandir(descriptor) as entries:
                names = [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
        except OSError as error:
            self._problem(folder, _words(error))
            return []
        names = sorted((name for name in names if name[0] != "." and name not in _SKIPPED), reverse=True)
        if not names and folder in self._roots:
            self.empty.append(self._roots[folder])
        return names

    def _unseen(self, path: str, error: OSError) -> None:
        """A file that vanished since its folder was read is none; a link to nowhere is a problem."""
        if not isinstance(error, FileNotFoundError) or os.path.lexists(path):
            self._problem(path, _words(error))

    def _recognised(self, found: FoundFile, folder: int) -> bool:
        try:
            head = _head(os.path.basename(found.path), folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            if not has_image_extension(found.path):
                self._problem(found.absolute, _words(error))
                return False
            return True
        if sniff(head) or has_image_extension(found.path):
            return True
        self.skipped += 1
        return False


def _head(name: str, folder: int) -> bytes:
    """The first HEAD bytes of a regular file in an open folder, or nothing if it is none by now."""
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    try:
        return os.read(descriptor, HEAD) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


def _mode(name: str, text: str) -> int:
    try:
        return os.stat(name).st_mode
    except (OSError, ValueError) as error:
        raise SourceError(_why(name, text, error)) from error


def _why(name: str, text: str, error: OSError | ValueError) -> str:
    expected = "Expected a file, a folder or @list.txt."
    if _URL.match(name):
        return f"{expected} Got the URL {text!r}: remote sources are not supported yet; mount it or copy it here first."
    if not name:
        return f"{expected} Got {text!r}, which names nothing."
    if not isinstance(error, FileNotFoundError):
        return f"{expected} Got {text!r}, which cannot be read: {_words(error)}"
    hint = f" For the file or folder of that name write './{text}'." if name != text and os.path.exists(text) else ""
    return f"{expected} Got {text!r}, which does not exist; if it is on another disk or a share, is that mounted?{hint}"


def _absolute(name: str) -> str:
    """The absolute path, links kept, unless `..` after a link makes that another file."""
    path = os.path.abspath(name)
    return path if os.path.exists(path) and os.path.samefile(path, name) else os.path.realpath(name)


def _paths(lines: Iterator[bytes] | Sequence[bytes], root: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        line = (line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).rstrip(b"\r\n")
        if line.strip() and not line.startswith(b"#"):
            yield os.path.normpath(os.path.join(root, os.fsdecode(line)))


def _found(root: str, path: str, status: os.stat_result) -> FoundFile:
    return FoundFile(root, os.path.relpath(path, root), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")

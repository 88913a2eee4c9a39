"""Which image files a SOURCE holds: walked in a stable order, recognised by content, each path once, never hanging."""

# A path is kept as the file system spells it, and a Path an entry would double the time.
# ruff: noqa: PTH100, PTH110, PTH116, PTH118, PTH119, PTH120, PTH121, PTH123

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pixelmill.errors import SourceError
from pixelmill.images.formats import HEAD, has_image_extension, sniff

SKIPPED_FOLDERS: Final = frozenset(
    {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
)
"""Folders that storage devices and desktops make for themselves. Names that start with a dot are skipped as well."""

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
        return os.path.join(self.source, self.path)


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
    """An iterator over found files. Its counters are complete when it is exhausted.

    `skipped` counts the files that are no images, `found` maps each source, as it was given, to its files yielded:
    0 for a folder means that it was empty, or that a disk is not mounted.
    """

    def __init__(self, sources: Sequence[Source], known: Callable[[FoundFile], bool], on_problem: Problem) -> None:
        self.skipped = 0
        self.found = dict.fromkeys((source.given for source in sources), 0)
        self._known = known
        self._problem = on_problem
        self._folders: set[tuple[int, int]] = set()
        self._named: set[str] = set()
        self._files = self._all(sources)

    def __next__(self) -> FoundFile:
        return next(self._files)

    def __iter__(self) -> Iterator[FoundFile]:
        return self._files

    def _all(self, sources: Sequence[Source]) -> Iterator[FoundFile]:
        walks = {"file": self._file, "list": self._list, "folder": self._folder}
        for source in sorted(sources, key=lambda source: source.kind == "folder"):
            for found in walks[source.kind](source):
                self.found[source.given] += 1
                yield found

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
        links: list[str] = [""]
        for prefix in links:
            yield from self._walk(source.root, prefix, links)

    def _walk(self, root: str, start: str, links: list[str]) -> Iterator[FoundFile]:
        """Files below `root/start` in the order of their paths; symbolic links to folders are added to `links`."""
        base = os.path.join(root, "")
        known, named, recognised = self._known, self._named, self._recognised
        stack = [(start, self._names(base + start))]
        while stack:
            prefix, names = stack[-1]
            if not names:
                stack.pop()
                continue
            relative = prefix + names.pop()
            if relative[-1] == "/":
                stack.append((relative, self._names(base + relative)))
                continue
            path = base + relative
            try:
                status = os.stat(path)
            except OSError as error:
                self._unseen(path, error)
                continue
            mode = status.st_mode
            if stat.S_ISREG(mode):
                found = FoundFile(root, relative, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                if (named and path in named) or not (known(found) or recognised(path)):
                    continue
                yield found
            elif stat.S_ISDIR(mode):
                links.append(relative + "/")
            else:
                self.skipped += 1

    def _names(self, folder: str) -> list[str]:
        """Names in a folder not yet visited, last first; a folder's ends in a slash, so that paths sort bytewise."""
        try:
            status = os.stat(folder)
            identity = status.st_dev, status.st_ino
            if identity in self._folders:
                return []
            self._folders.add(identity)
            with os.scandir(folder) as entries:
                names = [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
        except OSError as error:
            self._problem(folder, _words(error))
            return []
        names = [name for name in names if name[0] != "." and name.rstrip("/") not in SKIPPED_FOLDERS]
        names.sort(reverse=True)
        return names

    def _unseen(self, path: str, error: OSError) -> None:
        """A file that vanished since its folder was read is none; a link to nowhere is a problem."""
        if not isinstance(error, FileNotFoundError) or os.path.lexists(path):
            self._problem(path, _words(error))

    def _recognised(self, path: str) -> bool:
        try:
            head = read_head(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            if not has_image_extension(path):
                self._problem(path, _words(error))
                return False
            return True
        if sniff(head) or has_image_extension(path):
            return True
        self.skipped += 1
        return False


def read_head(path: str) -> bytes:
    """The first HEAD bytes of a regular file, or nothing if it is none by now."""
    descriptor = os.open(path, _OPEN)
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

"""Which image files a SOURCE holds: walked in a stable order, recognised by content, each path once, never hanging."""

# A path is kept as the file system spells it, and a Path an entry would double the time.
# ruff: noqa: PTH116, PTH118, PTH119, PTH120

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final

from pixelmill.errors import reason_of
from pixelmill.sources.address import UNPACK, archive_kind, is_address, is_compressed_tar
from pixelmill.sources.companions import SPEAKING, Companion, may_speak
from pixelmill.sources.formats import has_image_extension, sniff
from pixelmill.sources.found import SKIPPED_FOLDERS, FoundFile, found_at, kept
from pixelmill.sources.listing import Beside, Elsewhere, Members, Notes
from pixelmill.sources.lists import named_in
from pixelmill.sources.local import OPEN, head_of, kind_of
from pixelmill.sources.source import Source, parse_source
from pixelmill.watch.calls import begin

_SKIPPED: Final = frozenset(name + "/" for name in SKIPPED_FOLDERS)
_new = tuple.__new__
_FITS: Final = 2**63
"""A time from this on does not fit what keeps it: see `found.kept`."""
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_NO_FILE: Final = _ABSENT | {errno.ENAMETOOLONG, errno.ELOOP}
"""What `stat` says of a path at which no file can be."""

Problem = Callable[[str, str], None]
"""Called with an absolute path and the reason why it could not be looked at."""


def in_order(sources: Sequence[Source]) -> list[Source]:
    """Sources in the order in which they are walked."""
    return sorted(sources, key=lambda source: source.kind == "folder")


def discover(
    sources: Sequence[str],
    *,
    known: Callable[[FoundFile], bool] = lambda _: False,
    stored: Callable[[str], bool] = lambda _: False,
    members: Members = lambda _archive, _status: None,
    on_problem: Problem = lambda _path, _reason: None,
    beside: Beside = None,
) -> Discovery:
    """The image files of all `sources`, as an iterator that also counts. Raises SourceError before anything is walked.

    Files given by name come first, whatever they hold; those that are archives give their members, or what `members`
    has of one that did not change. Then the folders: every regular file that `known` accepts by its name, size and
    times, unopened; and of the others, those that are images by content or by extension.

    A file given by name that does not answer is yielded with nothing known of it, to be read later, unless its content
    is `stored` already, by its absolute path: then that is told as a problem, and all stays as it is.

    With `beside`, each `Companion` of folders, patterns and archives comes among them; one that `beside` knows as it is
    stays unopened.
    """
    return Discovery([parse_source(text) for text in sources], known, stored, members, on_problem, beside)


class Discovery(Iterator[FoundFile]):
    """An iterator over found files of `sources`. When it is exhausted, `notes` tells what else it found."""

    def __init__(
        self, sources: Sequence[Source], known: Callable[[FoundFile], bool], stored: Callable[[str], bool],
        members: Members, on_problem: Problem, beside: Beside = None,
    ) -> None:  # fmt: skip
        self.sources = sources = [part for source in sources for part in (source.parts or (source,))]
        self.notes = Notes()
        self._known, self._stored = known, stored
        self._problem, self._beside = on_problem, beside
        self._elsewhere = Elsewhere(known, stored, members, on_problem, self.notes, beside)
        self._folders: set[str] = set()  # by their real paths: file systems give several folders one inode number
        self._before: dict[int, tuple[frozenset[str], int]] = {}
        self.avoided: set[str] = set()
        """Folders and files that hang: no walk looks at them."""
        self._roots = {os.path.join(source.root, ""): source.given for source in sources if source.kind == "folder"}
        self._named = self.notes.named
        self._files = self._all(sources)

    def __next__(self) -> FoundFile:
        return next(self._files)

    def __iter__(self) -> Iterator[FoundFile]:
        return self._files

    def close(self) -> None:
        """Give the walk up before it is exhausted, and close what it has open."""
        self._files.close()

    def _all(self, sources: Sequence[Source]) -> Generator[FoundFile, None, None]:
        for source in in_order(sources):
            yield from self.walk(source)

    def walk(self, source: Source) -> Iterator[FoundFile]:
        """The image files of one source, from the first on, though another walk of it may have been given up."""
        before = self._before.setdefault(id(source), (frozenset(self._folders), self.notes.skipped))
        self._folders, self.notes.skipped = set(before[0]), before[1]
        walks = {"file": self._file, "list": self._list, "pattern": self._pattern, "folder": self._folder}
        return walks[source.kind](source)

    def _file(self, source: Source) -> Iterator[FoundFile]:
        if is_address(source.place):
            yield from self._elsewhere.explicit([source.place])
        else:
            yield from self._explicit(source.root, source.place)

    def _pattern(self, source: Source) -> Iterator[FoundFile]:
        yield from self._elsewhere.pattern(source.root, source.place)

    def _list(self, source: Source) -> Iterator[FoundFile]:
        """The files of a list, whose lines may be paths and addresses."""
        try:
            for elsewhere, places in groupby(named_in(source), is_address):
                if elsewhere:
                    yield from self._elsewhere.explicit(places)
                    continue
                for path in places:
                    yield from self._explicit(source.root, path)
        except OSError as error:
            self._problem(source.place, reason_of(error))

    def _explicit(self, root: str, path: str) -> Iterator[FoundFile]:
        """A file that was named is yielded whatever it holds, and quarantined with a reason if that is no image."""
        if path in self._named:
            return
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            yield from self._unlooked(path, error)
            return
        if not stat.S_ISREG(status.st_mode):
            return self._problem(path, f"Expected a regular file, but it is {kind_of(status.st_mode)}.")
        if is_compressed_tar(path):
            return self._problem(path, UNPACK)
        if archive_kind(path):
            yield from self._elsewhere.archive(path)
            return
        self._named.add(path)
        inside = path.startswith(os.path.join(root, ""))
        yield _found(root if inside else os.path.dirname(path), path, status)

    def _unlooked(self, path: str, error: OSError | ValueError) -> Iterator[FoundFile]:
        """A file that was named and cannot be looked at. If it may be there, it waits to be read, unless stored."""
        code = error.errno if isinstance(error, OSError) else errno.ENAMETOOLONG
        if code in _ABSENT and not os.path.lexists(path):
            self.notes.missing.add(path)
        if code in _NO_FILE or archive_kind(path) or self._stored(path):
            return self._problem(path, reason_of(error))
        self._named.add(path)
        yield found_at(path)

    def _folder(self, source: Source) -> Iterator[FoundFile]:
        """Real folders first, then those behind symbolic links, so that a file is known by its real path."""
        if is_address(source.root):
            yield from self._elsewhere.folder(source.root)
            return
        links = [""]
        for start in links:
            yield from self._walk(source.root, start, links)

    def _walk(self, root: str, start: str, links: list[str]) -> Iterator[FoundFile]:
        """Files below `root/start` in the order of their paths; symbolic links to folders are added to `links`."""
        stack: list[tuple[str, list[str] | None]] = [(start, None)]
        real = os.path.join(os.path.realpath(os.path.join(root, start)), "")
        while stack:
            prefix, names = stack.pop()
            folder = os.path.join(root, prefix)
            if folder in self.avoided:
                continue
            begin("list", folder, root)
            with self._opened(folder) as descriptor:
                if descriptor is None:
                    continue
                names = names or self._names(descriptor, folder, real + prefix[len(start) :])
                yield from self._files_in(descriptor, root, prefix, names, links)
            if names:
                inner = prefix + names.pop()
                stack += [(prefix, names), (inner, None)] if names else [(inner, None)]

    def _files_in(self, folder: int, root: str, prefix: str, names: list[str], links: list[str]) -> Iterator[FoundFile]:
        """The files at the end of `names`, which they are taken off, up to the first that is a folder's."""
        known, named, recognised, status_of, regular = self._known, self._named, self._recognised, os.stat, stat.S_ISREG
        beside = self._beside
        while names and names[-1][-1] != "/":
            name = names.pop()
            path = prefix + name
            try:
                status = status_of(name, dir_fd=folder)
            except OSError as error:
                self._unseen(os.path.join(root, path), error)
                continue
            if regular(status.st_mode):
                size, mtime_ns, ctime_ns = status.st_size, status.st_mtime_ns, status.st_ctime_ns
                if not -_FITS < mtime_ns < _FITS > ctime_ns:
                    size, mtime_ns, ctime_ns = kept(size, mtime_ns, ctime_ns)
                found = _new(FoundFile, (root, path, size, mtime_ns, ctime_ns))
                if named and found.absolute in named:
                    continue
                speaks = beside is not None and name[-4:] in SPEAKING and may_speak(name)
                if known(found) or (not (speaks and self._is_on_record(found)) and recognised(found, folder)):
                    yield found
                elif speaks and found.absolute not in self.avoided:
                    yield Companion(*found)
            elif stat.S_ISDIR(status.st_mode):
                links.append(path + "/")
            else:
                self._irregular(os.path.join(root, path), status.st_mode)

    def _irregular(self, path: str, mode: int) -> None:
        """What is no file and no folder is none of the images; one that is called like an image is told of."""
        self.notes.skipped += 1
        if has_image_extension(path):
            self._problem(path, f"Expected a regular file, but it is {kind_of(mode)}.")

    @contextmanager
    def _opened(self, folder: str) -> Iterator[int | None]:
        try:
            descriptor = os.open(folder, OPEN | os.O_DIRECTORY)
        except OSError as error:
            self._problem(folder.rstrip("/") or "/", reason_of(error))
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _names(self, descriptor: int, folder: str, real: str) -> list[str]:
        """Names in a folder, last first; a folder's ends in a slash, so that paths sort bytewise. Empty if visited."""
        if real in self._folders:
            return []
        self._folders.add(real)
        names = list[str]()
        try:
            with os.scandir(descriptor) as entries:
                names.extend(entry.name + "/" if _is_folder(entry) else entry.name for entry in entries)
        except OSError as error:  # what was listed by then is looked at
            self._problem(folder.rstrip("/") or "/", reason_of(error))
            if not names:
                return []
        names = sorted((name for name in names if name[0] != "." and name not in _SKIPPED), reverse=True)
        if not names and folder in self._roots:
            self.notes.empty.append(self._roots[folder])
        return names

    def _unseen(self, path: str, error: OSError) -> None:
        """A file that vanished since its folder was read is none; a link to nowhere is a problem."""
        if not isinstance(error, FileNotFoundError) or os.path.lexists(path):
            self._problem(path, reason_of(error))

    def _is_on_record(self, found: FoundFile) -> bool:
        """Whether a file is on record as a companion, as it is: then it is no image, as was seen before."""
        if self._beside is None or not self._beside(found):
            return False
        self.notes.skipped += 1
        return True

    def _recognised(self, found: FoundFile, folder: int) -> bool:
        if found.absolute in self.avoided:
            return False
        begin("read", found.absolute, found.source)
        try:
            head = head_of(os.path.basename(found.path), folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            if not has_image_extension(found.path):
                self._problem(found.absolute, reason_of(error))
                return False
            return True
        if sniff(head) or has_image_extension(found.path):
            return True
        self.notes.skipped += 1
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder and no link to one; of one that cannot be looked at, its own error tells later."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _found(root: str, path: str, status: os.stat_result) -> FoundFile:
    return FoundFile(root, os.path.relpath(path, root), *kept(status.st_size, status.st_mtime_ns, status.st_ctime_ns))

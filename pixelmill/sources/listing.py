"""What a source elsewhere holds: objects below an address, files named one by one, members of archives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from pixelmill.batches import batched
from pixelmill.errors import SourceError, reason_of
from pixelmill.sources.address import (
    UNPACK,
    archive_kind,
    checked_address,
    is_address,
    is_compressed_tar,
    is_http,
    shown,
    shown_path,
)  # fmt: skip
from pixelmill.sources.archives import Listing, listed
from pixelmill.sources.companions import Companion, may_speak
from pixelmill.sources.files import Status, tag_of
from pixelmill.sources.formats import HEAD, sniff
from pixelmill.sources.found import FoundFile, found_at, is_hidden
from pixelmill.sources.names import may_be_image
from pixelmill.sources.open import files_of
from pixelmill.sources.pattern import files_fitting
from pixelmill.sources.retry import retried

AT_ONCE: Final = 32
"""Questions to servers at once."""
_ARCHIVES_AT_ONCE: Final = 8
_LISTING: Final = 2
_WITH_COMPANIONS: Final = 3
"""Counts the ways in which archives were ever listed: those of before lists in Parquet, and names of any kind, were
found are looked into once more; so are those of which only the images are on record, where more is asked for."""

Members = Callable[[str, Status], Iterable[FoundFile] | None]
"""The images of an archive as they are on record, if it has not changed since it was listed; None if it has."""

Beside = Callable[[FoundFile], bool] | None
"""Whether a companion is on record as it is now; None: nobody asks for companions."""


@dataclass(slots=True)
class Notes:
    """What one look at all sources found beside images: how many files were none; the folders that held nothing at all;
    what was named and is not there; what was named at all; and the archives that were listed anew, those apart of which
    nobody knows whether they are whole."""

    skipped: int = 0
    empty: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    archives: dict[str, Status] = field(default_factory=dict)
    open_ended: dict[str, Status] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Finds images elsewhere, for one look at all sources."""

    known: Callable[[FoundFile], bool]
    stored: Callable[[str], bool]
    members: Members
    problem: Callable[[str, str], None]
    notes: Notes
    beside: Beside = None

    def folder(self, root: str) -> Iterator[FoundFile]:
        """The images below an address: by extension, and objects without one."""
        from pixelmill.sources.fsspec import filesystem_files

        try:
            for path, status in filesystem_files(root).walk(root):
                found = FoundFile(root, path, *status)
                if found.absolute in self.notes.named or is_hidden(path):
                    continue
                if path.startswith("/"):
                    self.problem(found.absolute, "Expected a name after the slash: an empty one cannot be kept.")
                elif self.known(found) or may_be_image(path.rpartition("/")[2], status.size):
                    yield found
                else:
                    self.notes.skipped += 1
                    yield from self._speaking(found)
        except OSError as error:
            self.problem(root, words(error))

    def _speaking(self, file: FoundFile) -> Iterator[FoundFile]:
        """A file that is no image, if companions are asked for and it is one."""
        if self.beside is not None and may_speak(file.path):
            yield Companion(*file)

    def pattern(self, root: str, pattern: str) -> Iterator[FoundFile]:
        """The images and the archives whose paths or addresses fit a pattern."""
        try:
            if is_address(pattern):
                found = retried(lambda: _fitting(root, pattern))
            else:
                found = files_fitting(pattern, self.problem)
        except OSError as error:
            return self.problem(root, words(error))
        if not found:
            return self.problem(root, f"nothing fits the pattern {shown_path(pattern)}")
        files = [(path, status) for path, status in found if path not in self.notes.named]
        yield from self._archives([(path, status) for path, status in files if archive_kind(path)])
        for path, status in files:
            file = FoundFile(root, path.removeprefix(root.rstrip("/") + "/"), *status)
            if is_compressed_tar(path):
                self.problem(path, UNPACK)
            elif archive_kind(path):
                continue
            elif self._is_image(file):
                self.notes.named.add(path)
                yield file
            else:
                self.notes.skipped += 1
                yield from self._speaking(file)

    def _is_image(self, found: FoundFile) -> bool:
        """Whether what fits a pattern is taken for an image: elsewhere by its name, here by its content as well."""
        if may_be_image(found.path.rpartition("/")[2], found.size):
            return True
        path = found.absolute
        if is_address(path) or self.known(found):
            return not is_address(path)
        if self.beside is not None and may_speak(found.path) and self.beside(found):
            return False
        try:
            return sniff(files_of(path).read(path, 0, HEAD, most=HEAD)) is not None
        except OSError as error:
            self.problem(path, words(error))
            return False

    def explicit(self, addresses: Iterable[str]) -> Iterator[FoundFile]:
        """The files at addresses that were given one by one, whatever they hold, in that order."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
            for some in batched(addresses, 8 * AT_ONCE):
                for address, looked in zip(some, pool.map(_looked, some), strict=True):
                    yield from self._looked_at(address, looked)

    def _looked_at(self, address: str, looked: tuple[str, Status] | Exception) -> Iterator[FoundFile]:
        if isinstance(looked, Exception):
            yield from self._unlooked(address, looked)
            return
        address, status = looked
        if address in self.notes.named:
            return
        self.notes.named.add(address)
        if is_compressed_tar(address):
            self.problem(address, UNPACK)
        elif archive_kind(address):
            yield from self._archives([(address, status)])
        else:
            yield found_at(address)._replace(size=status.size, mtime_ns=status.mtime_ns, ctime_ns=status.tag)

    def _unlooked(self, address: str, error: Exception) -> Iterator[FoundFile]:
        """What was named and did not answer: it waits to be read, which may tell more, unless it is stored."""
        if isinstance(error, FileNotFoundError):
            self.notes.missing.add(address)
        absent = isinstance(error, (SourceError, FileNotFoundError, IsADirectoryError))
        if absent or archive_kind(address) or self.stored(address):
            return self.problem(shown(address) if isinstance(error, SourceError) else address, words(error))
        checked = checked_address(address)
        if checked not in self.notes.named:
            self.notes.named.add(checked)
            yield found_at(checked)

    def archive(self, path: str) -> Iterator[FoundFile]:
        """The images in an archive of this machine."""
        self.notes.named.add(path)
        try:
            status = files_of(path).status(path)
        except OSError as error:
            return self.problem(path, words(error))
        yield from self._archives([(path, status)])

    def _archives(self, archives: Iterable[tuple[str, Status]]) -> Iterator[FoundFile]:
        """The images of archives: those on record of one that has not changed, else it is listed, several at once."""
        with ThreadPoolExecutor(_ARCHIVES_AT_ONCE, thread_name_prefix="list") as pool:
            for some in batched(archives, _ARCHIVES_AT_ONCE):
                on_record = [self.members(address, self._as_listed(status)) for address, status in some]
                new = [one for one, known in zip(some, on_record, strict=True) if known is None]
                made = pool.map(_listed, new)
                for (address, status), known in zip(some, on_record, strict=True):
                    if known is not None:
                        self.notes.named.add(address)
                        yield from known
                        continue
                    found = next(made)
                    if isinstance(found, Exception):
                        self.problem(address, words(found))
                        continue
                    self.notes.named.add(address)
                    yield from found.files
                    if self.beside is not None:
                        yield from found.beside
                    self._note(address, status, found)  # not before: what came out of a walk that was left is not all

    def _note(self, address: str, status: Status, found: Listing) -> None:
        """Take note of an archive that was listed. One that is damaged is listed, and told of, again the next time."""
        self.notes.skipped += found.others
        if found.told:
            self.problem(address, found.told)
        if found.state == "whole":
            self.notes.archives[address] = self._as_listed(status)
        elif found.state == "open":
            self.notes.open_ended[address] = self._as_listed(status)

    def _as_listed(self, status: Status) -> Status:
        """What is kept of an archive that was listed: another than before whenever more is found in the same."""
        way = _LISTING if self.beside is None else _WITH_COMPANIONS
        return status._replace(tag=tag_of(f"{way} {status.tag}"))


def words(error: Exception) -> str:
    """What an error says, without a stop."""
    return reason_of(error).rstrip(".")


def _fitting(root: str, pattern: str) -> list[tuple[str, Status]]:
    """The files whose addresses fit a pattern, by name."""
    from pixelmill.sources.fsspec import filesystem_files

    return [(f"{root}/{path}", status) for path, status in filesystem_files(pattern).glob(root, pattern)]


def _looked(address: str) -> tuple[str, Status] | Exception:
    try:
        checked = checked_address(address)
        files = files_of(checked)
        return checked, retried(lambda: files.status(checked), lambda: not _is_down(checked))
    except (OSError, SourceError) as error:
        return error


def _is_down(address: str) -> bool:
    if not is_http(address):
        return False
    from pixelmill.sources.http import http_files

    return http_files().is_down(address)


def _listed(archive: tuple[str, Status]) -> Listing | Exception:
    try:
        return retried(lambda: listed(*archive))
    except (OSError, SourceError) as error:
        return error

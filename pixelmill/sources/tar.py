"""Tar archives, as WebDataset has them: listed once from end to end, then each member by a read of its own."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from typing import Final

from pixelmill.sources.address import shown_path
from pixelmill.sources.archive import ArchiveDamaged, CutOff, Member, Place, State
from pixelmill.sources.files import FileChanged, Files, Status, check_size
from pixelmill.sources.formats import HEAD, describe, has_image_extension
from pixelmill.sources.names import kept_name, speaking_name
from pixelmill.sources.ranges import RangeFile, opened

_BLOCK = tarfile.BLOCKSIZE
_LOST: Final = (64 << 20) // _BLOCK
"""Blocks in a row among which no header is looked for any more."""
_PADDING: Final = (1 << 20) // _BLOCK
"""Blocks of zeros at the end that are taken for padding."""


class TarArchive:
    """See `archive.Archive`. The place of a member is the block of 512 bytes at which its bytes begin. Of several
    members of one name the first counts.

    Whatever whole members there are count: before the end of an archive that was never closed or is cut off, after a
    damaged header, and in each of several archives in one file.
    """

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._files, self._address, self._size = files, address, status.size
        self._file = RangeFile(files, address, status.size)
        self._guard = threading.Lock()
        self._places: dict[str, Place] = {}
        self._rest = self.members()
        self.state: State = "whole"
        self.told: list[str] = []
        self.others = 0

    def members(self) -> Iterator[Member]:
        file = opened(self._files, self._address, self._size)
        places: dict[str, Place] = {}  # of all, for hard links
        headers, others = _Headers(file, self._size), 0
        try:
            for member in headers:
                if member.isreg() and not member.issparse():
                    places[member.name] = member.offset_data // _BLOCK, member.size
                elif not member.islnk() or member.linkname not in places:
                    continue
                place, size = places[member.linkname if member.islnk() else member.name]
                name = kept_name(member.name, size, partial(_head, file, place))
                if name is not None:
                    yield Member(name, size, _time_of(member), place)
                    continue
                others += 1
                if (name := speaking_name(member.name)) is not None:
                    yield Member(name, size, _time_of(member), place, speaks=True)
        except (tarfile.TarError, EOFError, ValueError) as error:
            place_shown = shown_path(self._address)
            what = f"{error}; the file seems to be {describe(self._file.part(0, HEAD))}"
            raise ArchiveDamaged(f"Expected an uncompressed tar archive in {place_shown}. {what}.") from error
        self.state, self.told, self.others = headers.state, list(headers.told()), others

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        number, size = place or self._found(name)
        check_size(size, most)
        start = _BLOCK * number
        data = self._file.part(
            start - _BLOCK, start + size
        )  # with the header, which is there only if the member still is
        try:  # a header that pax overrules may say 0
            whole = tarfile.TarInfo.frombuf(data[:_BLOCK], "utf-8", "surrogateescape").size in (size, 0)
        except tarfile.HeaderError:
            whole = False
        if whole and start + size > self._size:
            raise CutOff
        if not whole or len(data) != _BLOCK + size:
            raise FileChanged("the archive is another than the one that was listed")
        return data[_BLOCK:]

    def _found(self, name: str) -> Place:
        """Where a member is of which only the name is known: looked for from the front, no farther than needed."""
        with self._guard:
            try:
                while name not in self._places and (member := next(self._rest, None)):
                    self._places.setdefault(member.name, (member.place, member.size))
            except BaseException:
                self._rest = self.members()
                raise
            return self._places[name]


class _Headers:
    """The headers of a tar archive, and what lies between them. `tarfile` takes any header that it cannot read for the
    end; here the next one is looked for."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self._file, self._size = file, size
        self._members = self._lost = self._after_end = self._zeros = self._inner_zeros = 0
        self._cut, self._sparse = "", 0

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        archive, in_a_row = _Tar(fileobj=self._file), 0
        while in_a_row < _LOST:
            start = archive.offset
            self._file.seek(start)
            try:
                member = tarfile.TarInfo.fromtarfile(archive)
                if archive.offset <= start:
                    raise tarfile.ReadError("a size below zero")
            except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]  # the end of the file
                break
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros, of which two are an end
                self._zeros, in_a_row = self._zeros + 1, 0
            except (tarfile.TarError, ValueError):
                self._lose()
                in_a_row += 1
            else:
                in_a_row = 0
                self._note(member)
                yield member
                continue
            archive.offset = start + _BLOCK
        if self._lost and not self._members:
            raise tarfile.ReadError("no header of a member was found")

    def _lose(self) -> None:
        if self._zeros < 2:
            self._lost += 1
        else:
            self._after_end += 1

    def _note(self, member: tarfile.TarInfo) -> None:
        self._lost, self._after_end = self._lost + self._after_end, 0
        self._inner_zeros += self._zeros
        self._zeros = 0
        self._members += 1
        if member.issparse():
            self._sparse += has_image_extension(member.name)
        elif member.isreg() and member.offset_data + member.size > self._size:
            self._cut = member.name

    @property
    def state(self) -> State:
        if self._lost or self._cut or self._sparse:
            return "damaged"
        unsure = not self._zeros or self._inner_zeros or self._zeros > _PADDING
        return "open" if unsure else "whole"

    def told(self) -> Iterator[str]:
        """What there is to say of the archive, in words."""
        if self._cut:
            yield f"it is cut off in {self._cut}; what comes before is read"
        elif not self._zeros and not self._lost:
            yield "it ends without the blocks that end a tar, not closed or cut off; its whole members are read"
        if self._sparse:
            yield f"{self._sparse:,} images are stored with their zeros left out (`tar --sparse`), and are not read"
        if self._lost:
            yield f"{self._lost * _BLOCK:,} bytes are damaged, with the members that lay there; the others are read"
        if self._after_end:
            yield f"{self._after_end * _BLOCK:,} bytes after its end are no tar"
        if self._inner_zeros:
            yield "zeros lie between its members: it is several archives in one, or was not wholly copied"
        if self._zeros > _PADDING:
            yield f"it ends with {self._zeros * _BLOCK:,} bytes of zeros: was it wholly copied?"


class _Tar(tarfile.TarFile):
    """What `TarInfo.fromtarfile` reads from; nothing else is asked of it."""

    def next(self) -> None:
        return None


def _head(file: io.BufferedReader, place: int) -> bytes:
    """The first bytes of a member, which mostly came with its header."""
    file.seek(place * _BLOCK)
    return file.read(HEAD)


def _time_of(member: tarfile.TarInfo) -> int:
    seconds = float(member.mtime)
    return int(min(max(seconds, 0.0), 2.0**33) * 10**9) if seconds == seconds else 0

"""Tar archives, as WebDataset has them: listed once from end to end, then each member by a read of its own."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator

from pixelmill.images.decode import FileChanged, check_size
from pixelmill.remote.archives import ArchiveDamaged, Member, Place, kept_name, shown_path
from pixelmill.remote.files import READ_AHEAD, Files, RangeFile, Status, opened

_BLOCK = tarfile.BLOCKSIZE


class TarArchive:
    """See `archives.Archive`. The place of a member is the block of 512 bytes at which its bytes begin. Of several
    members of one name the first counts."""

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._files, self._address, self._size = files, address, status.size
        self._file = RangeFile(files, address, status.size)
        self._guard = threading.Lock()
        self._places: dict[str, Place] = {}
        self._rest = self.members()

    def members(self) -> Iterator[Member]:
        file = opened(self._files, self._address, self._size)
        places: dict[str, Place] = {}  # of all, for hard links
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                    if member.isreg() and not member.issparse():
                        places[member.name] = member.offset_data // _BLOCK, member.size
                    elif not member.islnk() or member.linkname not in places:
                        continue
                    place, size = places[member.linkname if member.islnk() else member.name]
                    name = kept_name(member.name, size)
                    if name is not None:
                        yield Member(name, size, int(min(max(member.mtime, 0), 2**33) * 10**9), place)
                self._check_end(file, archive.offset)
        except (tarfile.TarError, EOFError, ValueError) as error:
            place_shown = shown_path(self._address)
            raise ArchiveDamaged(f"Expected an uncompressed tar archive in {place_shown}. {error}.") from error

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
        if not whole or len(data) != _BLOCK + size:
            raise FileChanged("the archive is another than the one that was listed")
        return data[_BLOCK:]

    def _check_end(self, file: io.BufferedReader, offset: int) -> None:
        """Raise ArchiveDamaged unless the archive ends where its last member does: `tarfile` takes any header that it
        cannot read for the end."""
        file.seek(offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError(f"after {offset:,} bytes it is damaged or cut off")
        while block := file.read(READ_AHEAD):
            if block.strip(b"\0"):
                raise tarfile.ReadError(f"more follows its end at {offset:,} bytes: are these several archives in one?")

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

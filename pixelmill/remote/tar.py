"""Tar archives, as WebDataset has them: listed once from end to end, then each member by a read of its own."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator

from pixelmill.images.decode import FileChanged
from pixelmill.remote.archives import ArchiveDamaged, Member, Place, check_member, kept_name, shown_path
from pixelmill.remote.files import Files, Status, opened

_BLOCK = tarfile.BLOCKSIZE


class TarArchive:
    """See `archives.Archive`. The place of a member is the block of 512 bytes at which its bytes begin."""

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._files, self._address, self._size = files, address, status.size
        self._guard = threading.Lock()
        self._places: dict[str, Place] = {}
        self._rest = self.members()

    def members(self) -> Iterator[Member]:
        try:
            with tarfile.open(fileobj=opened(self._files, self._address, self._size), mode="r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                    name = kept_name(member.name)
                    if name is not None and member.isreg() and not member.issparse():
                        yield Member(name, member.size, int(member.mtime * 10**9), member.offset_data // _BLOCK)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ArchiveDamaged(
                f"Expected an uncompressed tar archive in {shown_path(self._address)}. {error}."
            ) from error

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        number, size = place or self._found(name)
        check_member(name, size, most)
        start = _BLOCK * number
        data = self._read(start - _BLOCK, start + size)  # with the header, which is there only if the member still is
        try:
            whole = tarfile.TarInfo.frombuf(data[:_BLOCK], "utf-8", "surrogateescape").size == size
        except tarfile.HeaderError:
            whole = False
        if not whole or len(data) != _BLOCK + size:
            raise FileChanged("the archive is another than the one that was listed")
        return data[_BLOCK:]

    def _found(self, name: str) -> Place:
        """Where a member is of which only the name is known: looked for from the front, no farther than needed."""
        with self._guard:
            try:
                while name not in self._places and (member := next(self._rest, None)):
                    self._places[member.name] = member.place, member.size
            except OSError:
                self._rest = self.members()
                raise
            return self._places[name]

    def _read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._size)
        return self._files.read(self._address, start, stop, most=stop - start) if stop > start else b""

"""Tar archives, as WebDataset has them: listed once from end to end, then each member by a read of its own."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator

from pixelmill.images.decode import FileChanged
from pixelmill.remote.archives import ArchiveDamaged, Member, check_member, kept_name, shown_path
from pixelmill.remote.files import Files, Status, opened

_BLOCK = tarfile.BLOCKSIZE


class TarArchive:
    """See `archives.Archive`. The place of a member is the block of 512 bytes at which its bytes begin."""

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._files, self._address, self._size = files, address, status.size
        self._guard = threading.Lock()
        self._places: dict[str, int] = {}
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

    def read(self, name: str, place: int | None, *, most: int) -> bytes:
        start = _BLOCK * (self._found(name) if place is None else place)
        if start < _BLOCK:
            raise KeyError(name)
        header = self._read(start - _BLOCK, start)
        try:
            size = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
        except tarfile.HeaderError as error:
            raise FileChanged(f"{shown_path(self._address)} is another than the one that was listed") from error
        check_member(name, size, most)
        data = self._read(start, start + size)
        if len(data) != size:
            raise FileChanged(f"{shown_path(self._address)} ends before its member {name} does")
        return data

    def _found(self, name: str) -> int:
        """Where a member is of which only the name is known: looked for from the front, no farther than needed."""
        with self._guard:
            try:
                while name not in self._places and (member := next(self._rest, None)):
                    self._places[member.name] = member.place
            except OSError:
                self._rest = self.members()
                raise
            return self._places[name]

    def _read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._size)
        return self._files.read(self._address, start, stop, most=stop - start) if stop > start else b""

"""Zip archives, read in parts: the table of contents once, each member by a read of its own."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from pixelmill.errors import ImageRejected
from pixelmill.remote.archives import ArchiveDamaged, Member, Place, check_member, kept_name, shown_path, time_of
from pixelmill.remote.files import Files, Status, opened

_HEADER: Final = struct.Struct("<4s22xHH")
"""What precedes a member: a signature, and the lengths of the name and of the extra field that follow (APPNOTE.TXT,
4.3.7). The extra field may be longer there than in the table of contents."""
_ROOM: Final = 256


class ZipArchive:
    """See `archives.Archive`. A member is found by its name."""

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._files, self._address, self._size = files, address, status.size
        try:
            with zipfile.ZipFile(opened(files, address, status.size)) as archive:
                infos = [(kept_name(info.filename), info) for info in archive.infolist()]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise ArchiveDamaged(f"Expected a zip archive in {shown_path(address)}. {error}.") from error
        self._infos = {name: info for name, info in infos if name is not None}

    def members(self) -> Iterator[Member]:
        for name, info in self._infos.items():
            yield Member(name, info.file_size, time_of(*info.date_time), 0, info.CRC or 1)

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        info = self._infos[name]
        check_member(name, info.file_size, most)
        check_member(name, info.compress_size, most + _ROOM)
        if info.flag_bits & 1:
            raise ImageRejected("read", "It is encrypted: Pixelmill knows no password for it.")
        try:
            with zipfile.ZipExtFile(io.BytesIO(self._packed(info)), "r", info) as member:
                return member.read()
        except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, struct.error) as error:
            raise ImageRejected("read", f"The archive is damaged there ({error}).") from error

    def _packed(self, info: zipfile.ZipInfo) -> bytes:
        start = info.header_offset
        room = _HEADER.size + len(info.orig_filename.encode()) + len(info.extra) + _ROOM
        data = self._read(start, start + room + info.compress_size)
        signature, name, extra = _HEADER.unpack_from(data)
        if signature != b"PK\3\4":
            raise zipfile.BadZipFile("no member begins where the table of contents says")
        begin = _HEADER.size + name + extra
        if len(data) < begin + info.compress_size:
            data += self._read(start + len(data), start + begin + info.compress_size)
        return data[begin : begin + info.compress_size]

    def _read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self._size)
        return self._files.read(self._address, start, stop, most=stop - start) if stop > start else b""

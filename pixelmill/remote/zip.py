"""Zip archives, read in parts: the table of contents once, each member by a read of its own."""

from __future__ import annotations

import bz2
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from pixelmill.errors import ImageRejected
from pixelmill.images.decode import check_size
from pixelmill.remote.archives import ArchiveDamaged, Member, Place, kept_name, shown_path, time_of
from pixelmill.remote.files import Files, RangeFile, Status, opened

_HEADER: Final = struct.Struct("<4s22xHH")
"""What precedes a member: a signature, and the lengths of the name and of the extra field that follow (APPNOTE.TXT,
4.3.7). The extra field may be longer there than in the table of contents."""
_ROOM: Final = 256


class ZipArchive:
    """See `archives.Archive`. A member is found by its name."""

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._file = RangeFile(files, address, status.size)
        try:
            with zipfile.ZipFile(opened(files, address, status.size)) as archive:
                infos = [(kept_name(info.filename, info.file_size), info) for info in archive.infolist()]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise ArchiveDamaged(f"Expected a zip archive in {shown_path(address)}. {error}.") from error
        self._infos = {name: info for name, info in infos if name is not None}

    def members(self) -> Iterator[Member]:
        for name, info in self._infos.items():
            yield Member(name, info.file_size, time_of(*info.date_time), 0, info.CRC or 1)

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        info = self._infos[name]
        check_size(info.file_size, most)
        check_size(info.compress_size, most + _ROOM)
        if info.flag_bits & 1:
            raise ImageRejected("read", "It is encrypted: Pixelmill knows no password for it.")
        packed = self._packed(info)
        try:
            data = _unpacked(packed, info.compress_type, info.file_size)
        except (zlib.error, OSError, EOFError, ValueError) as error:  # bz2 takes OSError for damage
            raise ImageRejected("read", f"The archive is damaged there ({error}).") from error
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise ImageRejected("read", "The archive is damaged there (the checksum is that of something else).")
        return data

    def _packed(self, info: zipfile.ZipInfo) -> bytes:
        start = info.header_offset
        room = _HEADER.size + len(info.orig_filename.encode(errors="surrogateescape")) + len(info.extra) + _ROOM
        data = self._file.part(start, start + room + info.compress_size)
        if data[:4] != b"PK\3\4" or len(data) < _HEADER.size:
            raise ImageRejected("read", "The archive is damaged: no member begins where its table of contents says.")
        _, name, extra = _HEADER.unpack_from(data)
        begin = _HEADER.size + name + extra
        if len(data) < begin + info.compress_size:
            data += self._file.part(start + len(data), start + begin + info.compress_size)
        return data[begin : begin + info.compress_size]


def _unpacked(packed: bytes, method: int, size: int) -> bytes:
    """The bytes of a member, and never more than one over its size: what is in there may be a bomb."""
    match method:
        case zipfile.ZIP_STORED:
            return packed
        case zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        case zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(packed, size + 1)
    raise ImageRejected(
        "read", f"Expected a member that is stored, or compressed by deflate or bzip2. Got method {method}."
    )

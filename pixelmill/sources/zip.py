"""Zip archives, read in parts: the table of contents once, each member by a read of its own."""

from __future__ import annotations

import bz2
import struct
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final

from pixelmill.errors import ImageRejected
from pixelmill.sources.address import shown_path
from pixelmill.sources.archive import ArchiveDamaged, CutOff, Member, Place, State
from pixelmill.sources.files import Files, Status, check_size
from pixelmill.sources.formats import HEAD
from pixelmill.sources.names import kept_name, speaking_name
from pixelmill.sources.ranges import BufferedRanges, RangeFile, opened
from pixelmill.sources.salvage import Salvaged

_HEADER: Final = struct.Struct("<4s22xHH")
"""What precedes a member: a signature, and the lengths of the name and of the extra field that follow (APPNOTE.TXT,
4.3.7). The extra field may be longer there than in the table of contents."""
_ROOM: Final = 256
_HEAD_PACKED: Final = 1024
"""Bytes of a member that are looked at to see what it is."""


class ZipArchive:
    """See `archive.Archive`. A member is found by its name. Where the table of contents is missing or damaged, the
    members are looked for one after the other, by their own headers."""

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._file = RangeFile(files, address, status.size)
        self.state: State = "whole"
        self.told: list[str] = []
        file = opened(files, address, status.size)
        try:
            infos = _table_of_contents(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            file.raw.check()
            found = Salvaged(file.raw)
            infos, self.state = list(found), "damaged"
            if not infos:
                raise ArchiveDamaged(f"Expected a zip archive in {shown_path(address)}. {error}.") from error
            self.told += [f"its table of contents cannot be read ({error}); {found.told}"]
        named = [(self._name_of(info), info) for info in infos]
        self._infos = {name: info for name, info in named if name is not None}
        self.others = sum(name is None for name, _ in named)
        beside = ((speaking_name(info.filename), info) for name, info in named if name is None)
        self._beside = {name: info for name, info in beside if name is not None}
        again = len(named) - self.others - len(self._infos)
        if again:
            self.told.append(f"{again:,} members have names of others after them, which count")

    def members(self) -> Iterator[Member]:
        for name, info in self._infos.items():
            yield Member(name, info.file_size, _time_of(*info.date_time), 0, info.CRC or 1)
        for name, info in self._beside.items():
            yield Member(name, info.file_size, _time_of(*info.date_time), 0, info.CRC or 1, speaks=True)

    def _name_of(self, info: zipfile.ZipInfo) -> str | None:
        return kept_name(info.filename, info.file_size, partial(self._head, info))

    def _head(self, info: zipfile.ZipInfo) -> bytes:
        """The first bytes of a member; none of one that cannot be read."""
        try:
            return _begun(self._packed(info, most=_HEAD_PACKED), info.compress_type)
        except (CutOff, ImageRejected, zlib.error, ValueError):
            return b""

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        info = self._infos[name] if name in self._infos else self._beside[name]
        check_size(info.file_size, most)
        check_size(info.compress_size, most + _ROOM)
        if info.flag_bits & 1:
            raise ImageRejected("read", "It is encrypted: Pixelmill knows no password for it.")
        packed = self._packed(info, most=info.compress_size)
        try:
            data = _unpacked(packed, info.compress_type, info.file_size)
        except ImageRejected:
            raise
        except (zlib.error, OSError, EOFError, ValueError) as error:  # bz2 takes OSError for damage
            raise ImageRejected("read", f"The archive is damaged there ({error}).") from error
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise ImageRejected("read", "The archive is damaged there (the checksum is that of something else).")
        return data

    def _packed(self, info: zipfile.ZipInfo, *, most: int) -> bytes:
        """The bytes of a member as they lie there, the first `most` of them."""
        size = min(most, info.compress_size)
        start = info.header_offset
        room = _HEADER.size + len(info.orig_filename.encode(errors="surrogateescape")) + len(info.extra) + _ROOM
        data = self._file.part(start, start + room + size)
        if data[:4] != b"PK\3\4" or len(data) < _HEADER.size:
            raise ImageRejected("read", "The archive is damaged: no member begins where its table of contents says.")
        _, name, extra = _HEADER.unpack_from(data)
        begin = _HEADER.size + name + extra
        if len(data) < begin + size:
            data += self._file.part(start + len(data), start + begin + size)
        if len(data) < begin + size:
            raise CutOff
        return data[begin : begin + size]


def _table_of_contents(file: BufferedRanges) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(file) as archive:
        return archive.infolist()


def _begun(packed: bytes, method: int) -> bytes:
    """The first bytes of a member."""
    match method:
        case zipfile.ZIP_STORED:
            return packed[:HEAD]
        case zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, HEAD)
    return b""


def _unpacked(packed: bytes, method: int, size: int) -> bytes:
    """The bytes of a member, and never more than one over its size: what is in there may be a bomb."""
    match method:
        case zipfile.ZIP_STORED:
            return packed
        case zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        case zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(packed, size + 1)
    way = zipfile.compressor_names.get(method, f"method {method}")  # type: ignore[attr-defined]
    raise ImageRejected("read", f"Not supported: a member of a zip that is compressed by {way}. Pack it by deflate.")


def _time_of(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Nanoseconds (Unix) of a time that an archive keeps without a zone: as UTC. 0 for one that there is not."""
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 10**9
    except ValueError:
        return 0

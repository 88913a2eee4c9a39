"""The members of a zip archive whose table of contents is missing or damaged, by the headers before each of them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from pixelmill.sources.ranges import READ_AHEAD, RangeFile

_HEADER: Final = struct.Struct("<4s5H3I2H")
"""Signature, version, flags, method, time, date, checksum, packed size, size, lengths of name and extra field
(APPNOTE.TXT, 4.3.7)."""
_SIGNATURE: Final = b"PK\3\4"
_ENDS: Final = (b"PK\1\2", b"PK\5\6", b"PK\6\6")
"""What follows the last member: the table of contents, or what ends an archive without one."""
_SIZES_FOLLOW, _UTF8, _UNKNOWN = 0x08, 0x800, 0xFFFFFFFF
_ZIP64: Final = 1
_LAST_METHOD: Final = 99
_FAR: Final = 64 << 20
"""Bytes in a row among which no header is looked for any more."""


class Salvaged:
    """Looks for members from the front of a file to its end. `told` says what was found."""

    def __init__(self, file: RangeFile) -> None:
        self._file = file
        self._end = 0
        self.told = ""

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        at, number, lost = 0, 0, 0
        while (begin := self._next(at)) is not None:
            lost += begin - at
            at = begin
            if (info := self._member(at)) is not None:
                number += 1
                yield info
                at = self._end
            else:
                lost, at = lost + 4, at + 4
        if self._file.part(at, at + 4) not in _ENDS:
            lost += self._file.size - at
        rest = f"{lost:,} bytes between them or after them cannot be read" if lost > 0 else "nothing else lies there"
        rest = "the last of which is cut off" if at > self._file.size else rest
        self.told = f"{number:,} members were found by their own headers, {rest}"

    def _next(self, at: int) -> int | None:
        """Where the next header is; None if none is near."""
        stop = at + _FAR
        while at < min(stop, self._file.size):
            block = self._file.part(at, at + READ_AHEAD)
            if block[:4] in _ENDS:
                return None
            found = block.find(_SIGNATURE)
            if found >= 0:
                return at + found
            at += max(len(block) - 3, 1)
        return None

    def _member(self, at: int) -> zipfile.ZipInfo | None:
        """The member that begins at `at`; None if none does, or nobody knows where it ends."""
        head = self._file.part(at, at + _HEADER.size)
        if len(head) < _HEADER.size:
            return None
        _, _, flags, method, time, date, crc, packed, size, name_length, extra_length = _HEADER.unpack(head)
        if method > _LAST_METHOD or not name_length:
            return None
        rest = self._file.part(at + _HEADER.size, at + _HEADER.size + name_length + extra_length)
        name = rest[:name_length].decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
        begin = at + _HEADER.size + name_length + extra_length
        if flags & _SIZES_FOLLOW and not packed:
            followed = self._followed(begin, method)
            if followed is None:
                return None
            crc, packed, size, self._end = followed
        else:
            if _UNKNOWN in (packed, size):
                size, packed = _zip64_sizes(rest[name_length:], size, packed)
            self._end = begin + packed
        info = zipfile.ZipInfo(name, _date(date, time))
        info.orig_filename, info.header_offset, info.flag_bits, info.compress_type = name, at, flags, method
        info.CRC, info.compress_size, info.file_size, info.extra = crc, packed, size, rest[name_length:]
        if flags & _SIZES_FOLLOW:
            self._end = self._after_descriptor(self._end)
        return info

    def _followed(self, begin: int, method: int) -> tuple[int, int, int, int] | None:
        """Checksum, packed size, size and end of a member whose sizes stand behind it: it has to be unpacked."""
        if method != zipfile.ZIP_DEFLATED:
            return None
        unpacking, crc, size, at = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0, begin
        while not unpacking.eof:
            block = self._file.part(at, at + READ_AHEAD)
            if not block:
                return None
            at += len(block)
            while block and not unpacking.eof:
                try:
                    data = unpacking.decompress(block, READ_AHEAD)
                except zlib.error:
                    return None
                crc, size, block = zlib.crc32(data, crc), size + len(data), unpacking.unconsumed_tail
        end = at - len(unpacking.unused_data)
        return crc, end - begin, size, end

    def _after_descriptor(self, at: int) -> int:
        """Where the next header is, behind sizes of 4 or 8 bytes each, with a signature or without (4.3.9)."""
        behind = self._file.part(at, at + 32)
        for length in (16, 24, 12, 20):
            if behind[length : length + 4] in (_SIGNATURE, *_ENDS):
                return at + length
        return at


def _zip64_sizes(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Size and packed size from the extra field, where they do not fit the header (4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            numbers = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            size = next(numbers, size) if size == _UNKNOWN else size
            packed = next(numbers, packed) if packed == _UNKNOWN else packed
            break
        at += 4 + length
    return size, packed


def _date(date: int, time: int) -> tuple[int, int, int, int, int, int]:
    return (date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2

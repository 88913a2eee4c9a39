"""The tags in a block of TIFF, each read for itself, at offsets that may lie: one that is broken costs itself alone.

Pillow's reader loses all tags behind one whose value lies outside, and reads those that nobody asks for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 256
"""Characters of a text that are kept."""

_ORDERS: Final = {b"II": "<", b"MM": ">"}
_TEXTS: Final = frozenset({2, 7, 129})
_NUMBERS: Final = {
    1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q",
    17: "q", 18: "Q",
}  # fmt: skip
"""Types of TIFF 6.0 and BigTIFF, as `struct` calls them; of texts, 129 is EXIF 3.0's UTF-8."""

_RATIONALS: Final = frozenset({5, 10})
_BIG: Final = 43
_MOST_TAGS: Final = 0xFFFF
_MOST_NUMBERS: Final = 4
_MOST_BYTES: Final = 4 * LONGEST
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Broken(Exception):
    """What cannot be read, in words that go on after its name."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory: `value` is its value, if that fits, or where it lies."""

    number: int
    kind: int
    count: int
    value: bytes


class Block:
    """A TIFF, whatever its magic number: those of cameras have their own. Raises Broken if it begins like none."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        order = _ORDERS.get(bytes(data[:2]))
        if order is None or len(data) < 16:
            raise Broken("does not begin like a TIFF")
        self._order = order
        self._is_big = struct.unpack_from(order + "H", data, 2)[0] == _BIG
        self.first: int = struct.unpack_from(order + ("Q" if self._is_big else "I"), data, 8 if self._is_big else 4)[0]

    def tags(self, offset: int) -> Iterator[Tag]:
        """Those of the directory at `offset`, as many as there are. Raises Broken behind the last if some are not."""
        head, entry = (self._order + form for form in (("Q", "HHQ8s") if self._is_big else ("H", "HHI4s")))
        start, step = offset + struct.calcsize(head), struct.calcsize(entry)
        if start > len(self._data):
            raise Broken("lies outside of the data")
        told: int = struct.unpack_from(head, self._data, offset)[0]
        count = min(told, (len(self._data) - start) // step, _MOST_TAGS)
        for one in struct.iter_unpack(entry, self._data[start : start + count * step]):
            yield Tag(*one)
        if count < told:
            raise Broken(f"is cut off: {count:,} of {told:,} tags are there")

    def text(self, tag: Tag) -> str:
        """Its text to the first zero, without control characters and blanks around it, LONGEST characters at most."""
        if tag.kind not in _TEXTS:
            raise Broken("is no text")
        return cleaned(bytes(self._bytes(tag, 1)[:_MOST_BYTES])) if tag.count else ""

    def numbers(self, tag: Tag) -> tuple[float, ...]:
        """The first few of its numbers; NaN for a fraction by zero."""
        form = _NUMBERS.get(tag.kind)
        if form is None:
            raise Broken("is no number")
        size = struct.calcsize("=" + form)
        stored = self._bytes(tag, size)[: size * _MOST_NUMBERS]
        values = list(struct.iter_unpack(self._order + form, stored))
        if tag.kind in _RATIONALS:
            return tuple(a / b if b else float("nan") for a, b in values)
        return tuple(float(value) for (value,) in values)

    def _bytes(self, tag: Tag, size: int) -> memoryview:
        length = tag.count * size
        if not length:
            raise Broken("is empty")
        if length <= len(tag.value):
            return memoryview(tag.value)[:length]
        offset = int.from_bytes(tag.value, "little" if self._order == "<" else "big")
        if offset + length > len(self._data):
            raise Broken("lies outside of the data")
        return self._data[offset : offset + length]


def cleaned(stored: bytes) -> str:
    """A text that a file has, in UTF-8 or else Latin-1, as it can be shown: one line, LONGEST characters at most."""
    stored = stored.split(b"\0", 1)[0]
    try:
        text = stored.decode()
    except UnicodeDecodeError as error:
        is_cut = error.reason == "unexpected end of data"
        text = stored[: error.start].decode() if is_cut else stored.decode("latin-1")
    return _CONTROL.sub(" ", text).strip()[:LONGEST].rstrip()

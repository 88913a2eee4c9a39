"""The directories of a TIFF and of raw files that are made like one (TIFF 6.0, section 2), without their pictures."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

Values = tuple[int, ...] | bytes
Tags = Mapping[int, Values]
"""The values of a directory by tag: integers, or bytes of text and of what is undefined."""

_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_TEXTS: Final = frozenset({2, 7})
_SUB_IFDS: Final = 330
_MOST: Final = 32
"""So many directories are looked at, and so many tags in each."""
_MOST_PAGES: Final = 4096
_MOST_TAGS: Final = 512
_MOST_VALUES: Final = 1 << 16


def directories(data: bytes, *, chain: bool = False) -> Iterator[Tags]:
    """Those of the chain, each with those below it, or the chain alone. What lies outside of the file is left out."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return
    big = data[2:4] in {b"+\0", b"\0+"}
    waiting = [_number(data, 8, order, "Q")] if big else [_number(data, 4, order, "I")]
    seen = set[int]()
    while waiting and len(seen) < (_MOST_PAGES if chain else _MOST):
        at = waiting.pop(0)
        if not at or at in seen:
            continue
        seen.add(at)
        tags, then = _directory(data, at, order, big=big)
        below = () if chain else tags.get(_SUB_IFDS, ())
        waiting = [*(below if isinstance(below, tuple) else ()), then, *waiting]
        yield tags


def _directory(data: bytes, at: int, order: str, *, big: bool) -> tuple[Tags, int]:
    width, entry = ("Q", 20) if big else ("H", 12)
    count = _number(data, at, order, width)
    start = at + struct.calcsize(order + width)
    tags = dict[int, Values]()
    for place in range(start, start + entry * min(count, _MOST_TAGS), entry):
        tag, kind = _number(data, place, order, "H"), _number(data, place + 2, order, "H")
        values = _values(data, place + 4, order, kind, big=big)
        if values is not None:
            tags.setdefault(tag, values)
    return tags, _number(data, start + entry * count, order, "Q" if big else "I")


def _values(data: bytes, at: int, order: str, kind: int, *, big: bool) -> Values | None:
    word, room = ("Q", 8) if big else ("I", 4)
    count = _number(data, at, order, word)
    code = _INTEGERS.get(kind)
    size = count * (struct.calcsize(order + code) if code else 1)
    if (not code and kind not in _TEXTS) or count > _MOST_VALUES:
        return None
    start = at + room if size <= room else _number(data, at + room, order, word)
    held = data[start : start + size]
    if len(held) < size:
        return None
    return struct.unpack(f"{order}{count}{code}", held) if code else held


def _number(data: bytes, at: int, order: str, code: str) -> int:
    """0 where the file has ended."""
    held = data[at : at + struct.calcsize(order + code)]
    return int(struct.unpack(order + code, held)[0]) if len(held) == struct.calcsize(order + code) else 0

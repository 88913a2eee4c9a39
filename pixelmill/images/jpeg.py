"""The segments of a JPEG (ITU T.81, annex B): of which process it is, and where its picture ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pixelmill.errors import ImageRejected

END: Final = b"\xff\xd9"
OTHER_BYTES: Final = bytes((37 * i + 91) % 251 for i in range(512)) * 4
"""What decoders take for more of the picture, if some of it is missing: it looks like none."""

_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN_ENDS: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_PADDING: Final = re.compile(rb"(.)\1{7,}\Z", re.DOTALL)
_COEFFICIENTS: Final = 64
_LOOKED_AT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker and what follows it; `end` is where the next one begins, after a scan that of its picture data."""

    marker: int
    body: bytes
    end: int


@dataclass(slots=True)
class _Frame:
    """How many of the lowest bits of each coefficient are still to come, by component; all before its first scan."""

    progressive: bool
    missing: dict[int, list[int]] = field(default_factory=dict)

    def add(self, scan: bytes) -> None:
        count = scan[0]
        first, last, bits = scan[1 + 2 * count], scan[2 + 2 * count], scan[3 + 2 * count] & 15
        if not self.progressive:
            first, last, bits = 0, _COEFFICIENTS - 1, 0
        for component in scan[1 : 1 + 2 * count : 2]:
            missing = self.missing[component]
            missing[first : last + 1] = [bits] * len(missing[first : last + 1])

    @property
    def is_complete(self) -> bool:
        return not any(any(bits) for bits in self.missing.values())


def refuse_unsupported(data: bytes) -> None:
    """Raise ImageRejected for processes that no decoder here knows, by their names."""
    frame = next((segment for segment in segments(data) if segment.marker in _FRAMES or segment.marker == 0xF7), None)
    if frame is None or len(frame.body) < 6:
        return
    precision, components = frame.body[0], frame.body[5]
    what = "JPEG-LS" if frame.marker == 0xF7 else "hierarchical JPEG" if frame.marker not in _DECODED else ""
    what = what or (f"{precision}-bit JPEG" if precision != 8 else "")
    what = what or (f"JPEG of {components} components" if components not in {1, 3, 4} else "")
    if what:
        raise ImageRejected("decode", f"Not supported: {what}. Convert it to an ordinary JPEG, or to PNG.")


def require_end(data: bytes) -> None:
    """Raise OSError for a JPEG without end marker: libjpeg takes zeros that follow for the rest of the picture."""
    if data.endswith(END) or data[-_LOOKED_AT:].rstrip(b"\0").endswith(END):
        return
    if not any(segment.marker == _END_OF_IMAGE for segment in segments(data)):
        raise OSError("truncated: there is no end marker")


def whole_scans(data: bytes) -> bytes | None:
    """The file to where the picture data of its last scan ends, if its scans leave nothing out; without padding."""
    frame = None
    for segment in segments(data):
        if segment.marker in _FRAMES and len(segment.body) >= 6:
            frame = _Frame(segment.marker in _PROGRESSIVE)
            frame.missing = {component: [16] * _COEFFICIENTS for component in segment.body[6::3]}
        elif segment.marker == _START_OF_SCAN and frame:
            try:
                frame.add(segment.body)
            except LookupError:
                return None
            if frame.is_complete:
                return _PADDING.sub(b"", data[: segment.end]).rstrip(b"\xff")
    return None


def segments(data: bytes) -> Iterator[Segment]:
    """All that have a length, and the end marker if there is one."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        while data[at : at + 1] == b"\xff":
            at += 1
        if at >= len(data):
            return
        marker = data[at]
        at += 1
        if marker == _END_OF_IMAGE:
            yield Segment(marker, b"", at)
            return
        if marker == 0 or marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            return
        body, at = data[at + 2 : at + length], at + length
        if marker == _START_OF_SCAN:
            ends = _SCAN_ENDS.search(data, at)
            at = ends.start() if ends else len(data)
        yield Segment(marker, body, at)

"""The segments of a JPEG (ITU T.81, annex B): of which process it is, and where its picture ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pixelmill.errors import ImageRejected

if TYPE_CHECKING:
    from PIL import Image

END: Final = b"\xff\xd9"
_OTHER_BYTES: Final = bytes((37 * i + 91) % 251 for i in range(512)) * 4
"""What decoders take for more of the picture, if some of it is missing: it looks like none."""

_HUFFMAN_TABLES: Final = 0xC4
_START_OF_SCAN: Final = 0xDA
_RESTART_INTERVAL: Final = 0xDD
_END_OF_IMAGE: Final = 0xD9
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_PADDING: Final = re.compile(rb"(.)\1{7,}\Z", re.DOTALL)
_MARK: Final = 0xFF
_FIRST_RESTART: Final = 0xD0
_AT_ONCE: Final = 1 << 18
_HOLE: Final = bytes(256)
_OF_AC: Final = 0x10
_MIDDLE: Final = 128
_COEFFICIENTS: Final = 64
_LOOKED_AT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker and what follows it; `end` is where the next one begins, or the picture data of a scan."""

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
    """Raise OSError for a JPEG without end marker, for whose missing rest libjpeg takes the zeros that follow, and for
    one whose scans leave a part of its coefficients out."""
    if _whole_until(data) is None:
        raise OSError("truncated: scans of the picture are missing")
    if data.endswith(END) or data[-_LOOKED_AT:].rstrip(b"\0").endswith(END):
        return
    if not any(segment.marker == _END_OF_IMAGE for segment in segments(data)):
        raise OSError("truncated: there is no end marker")


def require_no_hole(data: bytes) -> None:
    """Raise OSError if zeros stand where there was picture data, as in files that were never wholly copied.

    So many are samples without meaning, unless zeros are the code for the end of a block, as of blank pages.
    """
    if _HOLE not in data:
        return
    first_symbols = dict[int, int]()
    for segment in segments(data):
        if segment.marker == _HUFFMAN_TABLES:
            first_symbols |= _first_symbols(segment.body)
        elif segment.marker in _FRAMES - _SEQUENTIAL:
            return
        elif segment.marker == _START_OF_SCAN:
            at = data.find(_HOLE, segment.end)
            ends_blocks = first_symbols.get(_OF_AC | segment.body[2] & 15, 0) == 0
            if not ends_blocks and 0 <= at < _scan_end(data, segment.end):
                raise OSError("zeros stand where there were picture data")
            return


def _first_symbols(body: bytes) -> dict[int, int]:
    """What the code of zeros means, by table (ITU T.81, B.2.4.2)."""
    found, at = dict[int, int](), 0
    while at + 17 < len(body):
        found[body[at]] = body[at + 17]
        at += 17 + sum(body[at + 1 : at + 17])
    return found


def require_restarts(data: bytes) -> None:
    """Raise OSError if fewer restart markers are there than the size of the picture takes: parts of it are lost."""
    interval, units = 0, 0
    for segment in segments(data):
        if segment.marker == _RESTART_INTERVAL:
            interval = int.from_bytes(segment.body[:2], "big")
        elif segment.marker in _SEQUENTIAL:
            units = _units(segment.body)
        elif segment.marker == _START_OF_SCAN:
            wanted = -(-units // interval) - 1 if interval else 0
            if wanted > 0 and _scanned(data, segment.end)[1] < wanted:
                raise OSError("truncated: picture data between restart markers are missing")
            return


def _units(frame: bytes) -> int:
    """How many units a scan of all components has (ITU T.81, A.2)."""
    across, down = (max(byte >> shift & 15 for byte in frame[7::3]) for shift in (4, 0))
    if frame[5] == 1:
        across = down = 1
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return -(-width // (8 * across)) * -(-height // (8 * down)) if across and down else 0


def may_be_cut(image: Image.Image) -> bool:
    """Whether the last pixel is what libjpeg makes of blocks whose data are missing: the middle of each range."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return all(abs(band - _MIDDLE) <= 1 for band in (last if isinstance(last, tuple) else (last,)))  # type: ignore[operator]


def whole_scans(data: bytes) -> bytes | None:
    """The file to where the picture data of its last scan ends, if its scans leave nothing out; without padding."""
    start = _whole_until(data)
    return None if start is None else _PADDING.sub(b"", data[: _scan_end(data, start)]).rstrip(b"\xff")


def with_other_rest(scans: bytes) -> bytes:
    """A file that looks the same as `scans` with an end, if these are whole."""
    return scans + _OTHER_BYTES + END


def _whole_until(data: bytes) -> int | None:
    """Where the picture data begin of the scan with which nothing is left out any more; None if something is."""
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
                return segment.end
    return None


def _scan_end(data: bytes, start: int) -> int:
    return _scanned(data, start)[0]


def _scanned(data: bytes, start: int) -> tuple[int, int]:
    """Where the picture data of a scan end, and how many restart markers are among them."""
    import numpy as np

    view, restarts = np.frombuffer(data, np.uint8), 0
    for at in range(start, len(data), _AT_ONCE):
        piece = view[at : at + _AT_ONCE + 1]
        marks = np.flatnonzero(piece[:-1] == _MARK)
        after = piece[marks + 1]
        is_restart = (after & 0xF8) == _FIRST_RESTART
        ends = np.flatnonzero(~is_restart & (after != 0) & (after != _MARK))
        if ends.size:
            return at + int(marks[ends[0]]), restarts + int(is_restart[: ends[0]].sum())
        restarts += int(is_restart.sum())
    return len(data), restarts


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
        yield Segment(marker, body, at)
        if marker == _START_OF_SCAN:
            at = _scan_end(data, at)

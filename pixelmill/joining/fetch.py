"""A table as a file in a folder of our own, whole and at rest, wherever it lies; and the text in it."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from pixelmill.sources.address import is_http, shown_path
from pixelmill.sources.files import FileChanged, Status
from pixelmill.sources.open import files_of
from pixelmill.sources.retry import retried
from pixelmill.watch.calls import begin

PIECE: Final = 64 << 20
_AT_ONCE: Final = 2 << 30
"""So many bytes are read of a table whose size nobody tells, or whose server gives no parts."""
_MOST_TEXT: Final = 64 << 30
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def status_of(place: str) -> Status:
    """What gives a change of a table away, without reading it. Raises OSError, SourceError."""
    begin("read", place)
    return retried(lambda: files_of(place).status(place))


def fetch(place: str, target: Path) -> Status:
    """Copy a table; what is known of it. Raises OSError, as FileChanged for one that was written to meanwhile."""
    before = status_of(place)
    with target.open("wb") as copy:
        for piece in _pieces(place, before.size):
            copy.write(piece)
    if status_of(place) != before:
        raise FileChanged(f"Expected a file at rest. {shown_path(place)} was written to while it was read")
    return before


def _pieces(place: str, size: int) -> Iterator[bytes]:
    files = files_of(place)
    if not size or is_http(place):  # not every server gives parts
        whole = retried(lambda: files.read(place, most=_AT_ONCE))
        if len(whole) > _AT_ONCE:
            raise OSError(f"Expected at most {_AT_ONCE:,} bytes. It has more")
        yield whole
        return
    for start in range(0, size, PIECE):
        begin("read", place)
        stop = min(start + PIECE, size)
        yield retried(lambda start=start, stop=stop: files.read(place, start, stop, most=PIECE))  # type: ignore[misc]


@contextmanager
def text_of(file: Path, *, packed: bool) -> Iterator[tuple[IO[str], str]]:
    """The text in a file, gzipped if `packed`, and in which encoding it was read. Raises OSError."""
    with _opened(file, packed) as data:
        encoding = _encoding(data)
    with _opened(file, packed) as data:
        yield io.TextIOWrapper(data, encoding, errors="replace", newline=""), encoding


def _opened(file: Path, packed: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if packed else file.open("rb")


def _encoding(data: BinaryIO) -> str:
    """UTF-8, what a mark in front says, or else Western European."""
    decoder, encoding, size = codecs.getincrementaldecoder("utf-8")(), "", 0
    try:
        while piece := data.read(1 << 20):
            if not size and (marked := next((name for mark, name in _MARKS if piece.startswith(mark)), None)):
                encoding = marked
            size += len(piece)
            if size > _MOST_TEXT:
                raise OSError(f"Expected at most {_MOST_TEXT:,} bytes of text. It has more")
            if not encoding and not _decodes(decoder, piece):
                encoding = "cp1252"
        return encoding or ("utf-8" if _decodes(decoder, b"", final=True) else "cp1252")
    except (EOFError, zlib.error) as error:
        raise OSError(f"Expected a whole file of gzip: {error}") from error


def _decodes(decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError:
        return False
    return True

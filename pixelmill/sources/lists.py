"""Lists of paths and addresses, one a line, as people's programs write them: in UTF-8, UTF-16 or plain bytes."""

# A path is kept as the file system spells it.
# ruff: noqa: PTH118, PTH123

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final
from urllib.parse import quote, urljoin

from pixelmill.sources.address import is_address, is_http
from pixelmill.sources.formats import describe, sniff
from pixelmill.sources.open import files_of
from pixelmill.sources.retry import retried
from pixelmill.sources.source import Source

_HEAD: Final = 4096
_LIST_BYTES: Final = 1 << 30
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # which begins like the next but one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEAST_ZEROS: Final = 1 / 8
"""The share of zero bytes from which on a text is UTF-16: names have at least slashes, dots and ends of ASCII. Between
whole names, as `find -print0` puts them, there are fewer."""
_CONTROL: Final = bytes(set(range(1, 32)) - {9, 10, 13, 27})
_MOST_CONTROL: Final = 1 / 20
"""The share of characters that no text has from which on a file is none."""
_PLAIN: Final = (
    "utf-8-sig" if sys.getfilesystemencoding() == "utf-8" else sys.getfilesystemencoding(),
    sys.getfilesystemencodeerrors(),
)


def named_in(source: Source) -> Iterator[str]:
    """The paths and addresses that a list names. Raises OSError for one that cannot be read, or is none."""
    if source.names:
        yield from source.names
        return
    if is_address(source.place):
        yield from (_beside(source.place, line) for line in listed_names(io.BytesIO(_list_at(source.place))))
        return
    with open(source.place, "rb") as lines:
        for line in listed_names(lines):
            yield line if is_address(line) else _path_in(source.root, line)


def listed_names(file: BinaryIO) -> Iterator[str]:
    """The lines of a list that are neither empty nor comments. Plain bytes come as `os.fsdecode` gives them.

    Raises OSError for a file that is no list, with what it seems to be.
    """
    head = file.read(_HEAD)
    file.seek(0)
    encoding = _encoding(head)
    if encoding:
        yield from _kept(io.TextIOWrapper(file, encoding, errors="replace"))
    elif b"\0" in head:
        names = file.read().split(b"\0")
        yield from _kept(iter([name.decode(*_PLAIN) for name in names]))
    else:
        yield from _kept(io.TextIOWrapper(file, *_PLAIN))


def _encoding(head: bytes) -> str | None:
    """The encoding of a list that is not one of plain bytes. Raises OSError for what is no text."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    even, odd = head[::2].count(0), head[1::2].count(0)
    many = even + odd > len(head) * _LEAST_ZEROS
    if many and 0 in (even, odd):
        return "utf-16-le" if odd else "utf-16-be"
    if many or sum(head.count(one) for one in _CONTROL) > len(head) * _MOST_CONTROL:
        kind = sniff(head)
        what = f"an image ({kind})" if kind else describe(head)
        raise OSError(f"Expected a text file of paths, one a line. The file is {what}")
    return None


def _kept(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        name = line.rstrip("\r\n")
        if name.strip() and not name.startswith("#"):
            yield name


def _path_in(root: str, line: str) -> str:
    """The path or address that a line of a list names; quotes and blanks around it count if a file is called so."""
    path = os.path.normpath(os.path.join(root, line))
    bare = line.strip()
    bare = bare[1:-1] if len(bare) > 2 and bare[0] == bare[-1] in ("'", '"') else bare
    if bare == line or os.path.lexists(path):
        return path
    return bare if is_address(bare) else os.path.normpath(os.path.join(root, bare))


def _list_at(address: str) -> bytes:
    """The bytes of a list at a checked address. Raises OSError."""
    return retried(lambda: files_of(address).read(address, most=_LIST_BYTES))


def _beside(base: str, line: str) -> str:
    """A line of the list at address `base`: an address, or the name of something beside the list."""
    if is_address(line):
        return line
    if is_http(base):
        with suppress(ValueError):
            return urljoin(base, quote(line, safe="%/:=&?~+!$,;'@()*", errors="surrogateescape"))
    return f"{base.rpartition('/')[0]}/{line}"

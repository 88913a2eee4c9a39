"""Files as they travel: their roots once, and of each the rest, bytes that are no UTF-8 included."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pixelmill.sources.found import FoundFile

_MOST: Final = 2**63 - 1
"""The largest number that a ledger keeps."""


def packed_files(files: Iterable[FoundFile]) -> dict[str, Any]:
    """Files as a part of a header."""
    roots: dict[str, int] = {}
    packed = [[roots.setdefault(source, len(roots)), *rest] for source, *rest in files]
    return {"sources": list(roots), "files": packed}


def unpacked_files(header: Mapping[str, Any]) -> tuple[FoundFile, ...]:
    """The files of a header. Raises ValueError, LookupError or TypeError where these are none."""
    roots = dict(enumerate(header["sources"]))
    files = tuple(FoundFile(roots[root], *rest) for root, *rest in header["files"])
    for file in files:
        require_file(file)
    return files


def require_file(file: FoundFile) -> None:
    """Raises ValueError for a file that no scan finds: whose name no file system has, or whose numbers no ledger
    keeps."""
    require_path(file.source)
    require_path(file.path)
    if not (is_number(file.size, 0) and is_number(file.mtime_ns, -_MOST) and is_number(file.ctime_ns, -_MOST)):
        raise ValueError(f"the size or a time of {file.absolute!r:.80} is out of range")


def require_path(path: object) -> None:
    """Raises ValueError for what is no path, or none that a file system can have."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"{path!r:.80} is no path")
    os.fsencode(path)  # a UnicodeError is a ValueError


def is_number(value: object, least: int, most: int = _MOST) -> bool:
    """Whether something is a whole number from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

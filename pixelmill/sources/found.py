"""One image that a source holds, as it was seen there."""

from __future__ import annotations

import os
import sys
from typing import Final, NamedTuple

from pixelmill.sources.address import is_archive

SKIPPED_FOLDERS: Final = frozenset(
    {"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
)
"""Folders that storage devices and desktops make for themselves. Names that start with a dot are skipped as well."""

_MOST: Final = 2**63 - 1
"""The largest number that SQLite keeps."""
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()


class FoundFile(NamedTuple):
    """An image as the walk saw it. A tuple, because a dataclass would cost a third of the walk.

    `source` is the absolute source root: a folder, an archive, or the address of one. `path` is relative to it. Both
    are decoded by `os.fsdecode`, so that `os.fsencode` gives the exact bytes back. Times are in nanoseconds, `size` in
    bytes. What is not known is 0.

    `ctime_ns` is what else gives a change away: of a local file the time of its change, of an object elsewhere a number
    made from its etag, of a member of an archive one that says as well where it lies (`archives.mark`).
    """

    source: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def absolute(self) -> str:
        """The path or address: of a local file that to open, of an archive's member with the archive for a folder."""
        return f"{self.source.removesuffix('/')}/{self.path}"

    @property
    def encoded(self) -> bytes:
        """`absolute` as the file system spells it: what os.fsencode gives, in a third of the time."""
        return self.absolute.encode(_ENCODING, _ERRORS)


def kept(size: int, mtime_ns: int, ctime_ns: int) -> tuple[int, int, int]:
    """Size and times as the ledger can keep them, which has 64 bits: some file systems know years far beyond 2262. A
    time of modification is the nearest one that fits; the last number, which is only compared, the same again for the
    same one."""
    return min(max(size, 0), _MOST), min(max(mtime_ns, -_MOST), _MOST), (ctime_ns + _MOST) % (2 * _MOST) - _MOST


def is_hidden(path: str) -> bool:
    """Whether a path elsewhere, relative to its root, goes through something that is skipped, or out of the root."""
    return any(part.startswith(".") or part in SKIPPED_FOLDERS for part in path.split("/"))


def below(path: bytes, root: bytes) -> bytes:
    """`path` relative to the root that it begins with, as it is spelled: keys of object stores may hold `//`."""
    return path.removeprefix(root.removesuffix(b"/") + b"/")


def found_at(absolute: str) -> FoundFile:
    """A file of which only the path or the checked address is known."""
    if "://" not in absolute:
        return FoundFile(*os.path.split(absolute), 0, 0, 0)
    host = absolute.index("://") + 3
    plain = absolute.partition("?")[0]
    double = plain.find("//", host)  # a root that ended in a slash would lose it
    cut = plain.rfind("/", host, double if double >= 0 else None)
    while is_archive(absolute[:cut]):  # a folder that is called like one, whose members are none
        cut = plain.rfind("/", host, cut)
    return FoundFile(absolute[:cut], absolute[cut + 1 :], 0, 0, 0)

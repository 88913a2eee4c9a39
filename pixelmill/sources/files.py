"""The contract of files, wherever they lie: what is known of one, bytes from here to there, and what may be wrong."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

from pixelmill.errors import ImageRejected, PixelmillError


class FileChanged(PixelmillError, OSError):
    """A file that was written to while it was read. It is whole again later: retry."""


class Status(NamedTuple):
    """What gives a change away: the size in bytes, the time of modification in nanoseconds (Unix), and a number that is
    another whenever the etag, or what stands for it, is another. What is not known is 0."""

    size: int
    mtime_ns: int
    tag: int


class Files(Protocol):
    """Files of one kind of place. Safe to use from many threads.

    All raise OSError: FileNotFoundError for what is not there, PermissionError for what needs a login, others for what
    may pass.
    """

    def status(self, address: str) -> Status:
        """What is known of a file without reading it. Raises IsADirectoryError for a folder."""

    def read(self, address: str, start: int = 0, stop: int | None = None, *, most: int) -> bytes:
        """The bytes from `start` to before `stop`, or to the end; one more than `most` if there are more."""


def tag_of(text: str) -> int:
    """A number of 63 bits for an etag; 0 for none. SQLite keeps no larger ones."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1 if text else 0


def check_size(size: int, max_bytes: int) -> None:
    """Raise ImageRejected for a file that is empty or too large."""
    if size == 0:
        raise ImageRejected("read", "The file is empty.")
    if size > max_bytes:
        raise ImageRejected("read", f"Expected at most {max_bytes:,} bytes. The file has {size:,}.")

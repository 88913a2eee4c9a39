"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
MOST: Final = 2**31 - 1
"""The most bytes that can be kept: glibc takes an int."""


def keep_freed(most: int = MOST) -> None:
    """Let this process keep up to `most` bytes that it freed, to use them again, until it ends.

    By default glibc gives arrays of tens of megabytes back to the kernel, which clears their pages anew for the next
    batch or picture: up to two thirds of the time that a convolutional network takes (docs/performance.md). The most
    memory that a process has does not change. Of mallopt(3): no separate mappings, one arena for all threads, and a
    threshold for the rest. Nothing is done where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in ((_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, most)):
            mallopt(parameter, value)

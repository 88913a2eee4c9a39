"""What the C library (glibc) does with memory that is freed."""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
_MOST: Final = 2**31 - 1
"""glibc takes an int."""


def keep_freed(least: int = _MOST) -> None:
    """Let this process keep memory that it freed, to use it again, until more than `least` bytes lie free at the end of
    its heap; then it gives them back.

    By default glibc gives arrays of tens of megabytes back to the kernel, which clears their pages anew for the next
    batch or picture: up to two thirds of the time that a convolutional network takes (docs/performance.md). Of
    mallopt(3): no separate mappings, one arena for all threads that begin later, a threshold. Nothing is done without a
    mallopt. Threads that there were before have arenas of their own: see `one_arena`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in ((_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, least)):
            mallopt(parameter, value)


def one_arena() -> None:
    """Let all threads of this process take memory from one place: those that have one of their own give what they freed
    back, whatever `keep_freed` says. To be called before there is a second thread, by whoever starts the process."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give the kernel what this process keeps of freed memory."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)

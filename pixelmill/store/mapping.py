"""A file in memory without a descriptor that stays open: a store of many parts must not come near the limit of them."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import Any

_FAILED = ctypes.c_void_p(-1).value
"""What mmap(2) gives instead of an address."""


def map_file(path: Path, size: int) -> memoryview:
    """The first `size` bytes of a file, read-only; unmapped when nothing refers to them any more. Raises OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < size:  # the kernel maps what is not there, and kills who reads it
            raise OSError(f"it has less than {size:,} bytes")
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, trackfd=False))
        return _mapped(file.fileno(), size)


def _mapped(descriptor: int, size: int) -> memoryview:
    """As `mmap.mmap` does it, which keeps a copy of the descriptor before Python 3.13."""
    address = _libc().mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    content = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(content, _libc().munmap, address, size).atexit = False
    return memoryview(content).toreadonly()


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t,
    )  # fmt: skip
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc

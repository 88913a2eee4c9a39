"""The system calls that change a folder, by a library loaded before all others: logged, refused, or died at."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("shim.c")
_HEAD = struct.Struct("5q")


class Kind(IntEnum):
    """What a call does; the numbers are those of shim.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    ALLOCATE = 4
    RENAME = 5
    UNLINK = 6
    MAKE_FOLDER = 7
    SYNC = 8
    FAILED = 9
    LINK = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `offset` of a write, or the size that a file gets; `second` is the new name of a rename or link."""

    kind: Kind
    path: str
    second: str = ""
    offset: int = 0
    data: bytes = b""


def needed_compiler() -> str:
    """The C compiler. Skips where there is none, or no Linux; fails there under CI."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        reason = "needs a C compiler (`cc`, with the headers of libc) and LD_PRELOAD of Linux"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; CI has them")
        pytest.skip(reason)
    return compiler


def compiled(folder: Path) -> Path:
    """The library, compiled into `folder`; see `needed_compiler`."""
    compiler = needed_compiler()
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def loaded() -> ctypes.CDLL:
    """The library in this process, which was started with it."""
    library = ctypes.CDLL(None)
    library.shim_calls.restype = ctypes.c_long
    library.shim_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
    return library


def read_log(log: Path, root: Path) -> list[Call]:
    """The calls in a log, in order, with paths relative to `root` ('.' for itself)."""
    return list(_calls(memoryview(log.read_bytes()), root))


def _calls(log: memoryview, root: Path) -> Iterator[Call]:
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return bytes(log[at - size : at])

    while at < len(log):
        kind, offset, size, *lengths = _HEAD.unpack(take(_HEAD.size))
        path, second = (os.path.relpath(os.fsdecode(take(n)), root) if n else "" for n in lengths)
        yield Call(Kind(kind), path, second, offset, take(size))


def answer_of(module: str, shim: Path, job: dict[str, Any]) -> Any:
    """What a module answers, as JSON, that is run with the library loaded and gets a job."""
    environment = {**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": str(SOURCE.parents[2])}
    command = [sys.executable, "-m", module, json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""Folders that cannot be written, for real: a file system mounted read-only, or another user without the right."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from pixelmill.watch import calls

NOBODY = 65534
_CAPABILITIES_3, _DAC_OVERRIDE, _DAC_READ_SEARCH = 0x20080522, 1 << 1, 1 << 2
"""From linux/capability.h: the version of capset's structures, and what lets the superuser read everything."""


@contextmanager
def mounted_read_only(source: Path, point: Path) -> Iterator[Path]:
    """A copy of folder `source` on a file system of its own, mounted read-only at `point`. Skips where mounting is denied."""
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(point)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root and the right to mount")
    try:
        shutil.copytree(source, point / "store")
        subprocess.run(["mount", "-o", "remount,ro", str(point)], check=True)
        yield point / "store"
    finally:
        # Lazily: a test that fails may hold a file open, and its own words matter more.
        subprocess.run(["umount", "--lazy", str(point)], check=True)


@contextmanager
def without_permission(source: Path) -> Iterator[Path]:
    """A copy of folder `source` that nobody may write to; the superuser may all the same: see `as_stranger`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        shutil.copytree(source, folder)
        Path(scratch).chmod(0o755)
        _chmod(folder, 0o555, 0o444)
        try:
            yield folder
        finally:
            _chmod(folder, 0o755, 0o644)


def as_stranger(function: Callable[[], Any]) -> Any:
    """What `function` returns in a process that is not the superuser's."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=_called, args=(function, theirs))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    finally:
        process.join()


@contextmanager
def modes_hold_for_all() -> Iterator[None]:
    """In this thread and those it starts, a folder or file of mode 0 cannot be read, by the superuser neither."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0, os.strerror(ctypes.get_errno())
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    assert libc.capset(header, less) == 0, os.strerror(ctypes.get_errno())
    calls.start_anew()
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0, os.strerror(ctypes.get_errno())
        calls.start_anew()


def _called(function: Callable[[], Any], answer: Connection) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    answer.send(function())


def _chmod(folder: Path, folders: int, files: int) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(folders if path.is_dir() else files)

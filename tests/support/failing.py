"""What can be made to go wrong with a folder, and with the S3 server that the environment names."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.prefect_server import free_port
from tests.support.s3 import S3

_FULL: Final = 1 << 12
"""Bytes of a file that still can be written to a disk that is full."""
_NEVER: Final = 10**9


@contextmanager
def full() -> Iterator[None]:
    """No file of this process may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written to a folder. Skips where mounting is denied."""
    folder.mkdir(parents=True, exist_ok=True)
    bind = ["mount", "--bind", str(folder), str(folder)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("mounting a folder needs root and the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def away() -> Iterator[None]:
    """Nothing listens where the server was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        yield


@contextmanager
def silent(server: S3) -> Iterator[None]:
    """It takes connections, and answers none."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def locked(server: S3) -> Iterator[None]:
    """It looks at keys, and knows not ours."""
    _look_at_keys_after(server, 0)
    try:
        yield
    finally:
        _look_at_keys_after(server, _NEVER)


def _look_at_keys_after(server: S3, requests: int) -> None:
    httpx.post(f"{server.url}/moto-api/reset-auth", content=str(requests)).raise_for_status()

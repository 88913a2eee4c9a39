"""What all tests share: a real Prefect API for the session, and pictures."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.prefect_server import PrefectServer
from tests.support.s3 import S3, forget_connections

# What asserts outside of test files tells what it found, too.
pytest.register_assert_rewrite("tests.support.targets")

# Before Prefect is imported: no telemetry, and a test's own words instead of Prefect's tracebacks.
os.environ.update(
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_LEVEL="CRITICAL",
)

# What Prefect's threads do at the end of a process is not for a child that a test forks: it would end with 1.
os.register_at_fork(after_in_child=threading._threading_atexits.clear)  # type: ignore[attr-defined]

# Tests that were started by `nohup`, or in the background of a script, are sent the signals that those ignore, too.
for _number, _usual in {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}.items():
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)

SavePicture = Callable[..., Path]


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Prefect's own test harness: a real API on a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server as a person starts it, for real workers; how to use it is told in its module."""
    with PrefectServer(tmp_path_factory.mktemp("prefect") / "home") as server:
        yield server


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server for the whole session."""
    server = S3(tmp_path_factory.mktemp("s3") / "log")
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def s3_server(s3_process: S3) -> Iterator[S3]:
    """An S3 server, which the environment names: this process and those that it starts use it for s3:// addresses."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_process.environment.items():
            patch.setenv(name, value)
        forget_connections()
        yield s3_process
    forget_connections()


@pytest.fixture
def save_picture() -> SavePicture:
    """Write a picture whose content follows from a seed: coarse random colours, so that models tell two apart."""

    def save(path: Path, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize(size, Image.Resampling.BICUBIC).save(path)
        return path

    return save


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run in an empty folder, without the settings of the person who runs them."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PIXELMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(logging.getLogger("pixelmill"), "propagate", True)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on a real tmpfs, if the machine has one at /dev/shm; `is_tmpfs` tells."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def is_tmpfs(folder: Path) -> bool:
    """Whether `folder` lies on a tmpfs, by the word of another program."""
    told = subprocess.run(["stat", "--file-system", "--format=%T", folder], capture_output=True, text=True, check=True)
    return told.stdout.strip() == "tmpfs"


@pytest.fixture
def own_resnet(tmp_path: Path) -> str:
    """The name of a ResNet-18 with seeded random weights, in the settings file of the test's folder."""
    import torch
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(5)
        torch.save(resnet18().state_dict(), tmp_path / "own.pth")
    Path("pixelmill.toml").write_text(
        f'[models.my_resnet]\nbackend = "torchvision"\narchitecture = "resnet18"\ncheckpoint = "{tmp_path}/own.pth"\n'
    )
    return "my_resnet"


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a test said goes from process to process as UTF-8, which has no words for the bytes of some file names."""
    return _as_utf8((yield))


def _as_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _as_utf8(item) for name, item in value.items()}
    return [_as_utf8(item) for item in value] if isinstance(value, (list, tuple)) else value

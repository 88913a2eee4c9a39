"""A server that tests start for themselves: in a process and a folder of its own, on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tests.support.prefect_server import ROOT, free_port

START_SECONDS = 60.0


class Engine:
    """A server process. Its data stay in `folder` until the end of the `with`, over `kill` and `start`."""

    owner: int | None = None
    """The user that it runs as, where that is not the one of the tests."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-", dir="/tmp"))
        if self.owner is not None:
            os.chown(self.folder, self.owner, self.owner)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes requests; errors of connecting mean no."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What is done once, before it is first started."""

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """From a thread that outlives it: the system takes the end of that thread for the end of the tests."""
        command: Sequence[str | Path] = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
            *self.command(),
        ]  # it ends with the tests, however they end
        with (self.folder / "log").open("ab") as log:
            self._process = self._run(subprocess.Popen, command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self.alive():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{type(self).__name__} does not start: {self.said()}")
            time.sleep(0.02)

    def alive(self) -> bool:
        """Whether it answers within seconds."""
        with suppress(Exception):
            return self.answers()
        return False

    def _run(self, how: Callable[..., Any], command: Sequence[str | Path], **more: Any) -> Any:
        """As its owner, by a program: where Python changes the user, it forks, and gRPC's handlers break the child."""
        owner = [] if self.owner is None else [f"--reuid={self.owner}", f"--regid={self.owner}", "--clear-groups"]
        setpriv = ["setpriv", *owner, "--"] if owner else []
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
        return how([*setpriv, *command], stdin=subprocess.DEVNULL, cwd=self.folder, env=environment, **more)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def said(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Kill it and what it started, as a power cut would. `start` goes on with what it kept."""
        if self._process is not None:
            self._signal(signal.SIGSTOP)  # so that it starts none meanwhile
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        for pid in _family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens at its port."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections, and answers none."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def full(self, size: int) -> Iterator[None]:
        """No file of it may grow beyond `size` bytes, as if its disk were full."""
        self._limit([str(pid) for pid in _family(self.pid)], str(size))
        try:
            yield
        finally:
            self._limit([str(pid) for pid in _family(self.pid)], "unlimited")

    def _limit(self, pids: Sequence[str], size: str) -> None:
        """By a program, which runs as their owner: to limit those of others is more than root may in a container."""
        for pid in pids:
            done = self._run(subprocess.run, ["prlimit", "--pid", pid, f"--fsize={size}:"], capture_output=True)
            assert done.returncode == 0 or not Path(f"/proc/{pid}").exists(), done.stderr


def _family(pid: int) -> list[int]:
    """A process and those that it started, which may have made themselves sessions of their own."""
    with suppress(OSError):
        children = [int(word) for path in Path(f"/proc/{pid}/task").iterdir() for word in _words(path / "children")]
        return [pid, *(one for child in children for one in _family(child))]
    return [pid]


def _words(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().split()
    return []

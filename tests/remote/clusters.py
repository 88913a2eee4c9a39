"""Clusters of Dask and Ray as people start them: by their own commands, each process for itself, and on other machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.support.namespace import Namespace
from tests.support.prefect_server import free_port, stop, wait_until

DASK_SCHEDULER = (sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard")
DASK_WORKER = (sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard", "--no-nanny", "--nthreads", "1")
RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
OPEN = {"RAY_AUTH_MODE": "disabled"}
START_SECONDS = 120.0


class Cluster:
    """What a run is given the `address` of. Its processes write what they say to files of `folder`, and end with the
    block."""

    kind: str
    address: str

    def __init__(self, folder: Path, env: Mapping[str, str], host: str = "127.0.0.1") -> None:
        self.folder, self.env, self.host, self.port = folder, dict(env), host, free_port()
        self._processes = ExitStack()

    def __enter__(self) -> Self:
        self.head = self.start("head", self.head_command(), None)
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()

    def start(
        self, name: str, command: tuple[str, ...], there: Namespace | None, **variables: str
    ) -> subprocess.Popen[bytes]:
        """A process of it, on another machine or this one."""
        env = self.env | variables
        return self._processes.enter_context(running(command, self.folder / f"{name}.log", there, env))

    def head_command(self) -> tuple[str, ...]:
        raise NotImplementedError

    def worker(self, name: str, there: Namespace | None = None, **variables: str) -> subprocess.Popen[bytes]:
        """Another process that embeds."""
        raise NotImplementedError

    def wait(self, workers: int) -> None:
        """Until so many workers are there."""
        raise NotImplementedError


class Dask(Cluster):
    """A scheduler, and workers with one thread each."""

    kind = "dask"

    def __init__(self, folder: Path, env: Mapping[str, str], host: str = "127.0.0.1") -> None:
        super().__init__(folder, env, host)
        self.address = f"tcp://{host}:{self.port}"

    def head_command(self) -> tuple[str, ...]:
        return (*DASK_SCHEDULER, "--host", self.host, "--port", str(self.port))

    def worker(self, name: str, there: Namespace | None = None, **variables: str) -> subprocess.Popen[bytes]:
        place = ("--name", name, "--local-directory", str(self.folder / f"{name}.scratch"))
        return self.start(name, (*DASK_WORKER, *place, self.address), there, **variables)

    def wait(self, workers: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=START_SECONDS, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=START_SECONDS)


class Ray(Cluster):
    """A head that embeds nothing, and workers: nodes of their own, of one place each."""

    kind = "ray"

    def __init__(self, folder: Path, env: Mapping[str, str], host: str = "127.0.0.1") -> None:
        super().__init__(folder, {**env, **OPEN}, host)
        self.address = f"{host}:{self.port}"
        os.environ.update(OPEN)  # for this process, too

    def head_command(self) -> tuple[str, ...]:
        place = ("--node-ip-address", self.host, "--port", str(self.port))
        return (*RAY_START, "--head", *place, "--num-cpus", "0", "--include-dashboard", "false")

    def worker(self, name: str, there: Namespace | None = None, **variables: str) -> subprocess.Popen[bytes]:
        wait_until(lambda: "Ray runtime started" in self.told("head"), START_SECONDS, "the head of Ray", self.head)
        place = ("--node-ip-address", there.address) if there else ()
        return self.start(name, (*RAY_START, "--address", self.address, *place, "--num-cpus", "1"), there, **variables)

    def told(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait(self, workers: int) -> None:
        def started() -> bool:
            return sum("Ray runtime started" in log.read_text() for log in self.folder.glob("*.log")) > workers

        wait_until(started, START_SECONDS, "the nodes of Ray")


@contextmanager
def running(
    command: tuple[str, ...], log: Path, there: Namespace | None, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program while the block runs, on this machine or another one."""
    if there:
        with there.running(*command, log=log, env=dict(env)) as process:
            yield process
        return
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        stop(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

"""A real Prefect server and real process workers, for tests. Each is a process of its own, started as a person does.

    with PrefectServer(tmp_path / "prefect") as server:
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        server.prefect("deploy", "--prefect-file", "deployments/prefect.yaml", "--all")  # from the repository root
        with server.worker("cpu"), server.used():
            run = run_deployment("vectorize/vectorize", parameters={"sources": [str(photos)]}, timeout=0)
            state = server.wait_for(run.id, seconds=120)

`used()` makes this process's flows and clients talk to the server. The fixture `prefect_server` is one for the whole
session: make pools and deployments of your own name on it. A test that stops or kills its server starts its own.
What server and workers print is in `home` (server.log, worker-1.log, ...).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx

ROOT = Path(__file__).parent.parent.parent
PREFECT = (sys.executable, "-m", "prefect")
START_SECONDS = 300.0
STOP_SECONDS = 30.0
Found = TypeVar("Found")


class PrefectServer:
    """A server on a free port with a folder `home` of its own, which it finds again when it is started again."""

    def __init__(self, home: Path, **variables: str) -> None:
        """`variables` go to the server, the workers and their flow runs, as PREFECT_WORKER_QUERY_SECONDS="1"."""
        self.home = home
        self.port = free_port()
        self.env = clean_environment() | {
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **variables,
        }
        self._server: subprocess.Popen[bytes] | None = None
        self._started = 0

    @property
    def url(self) -> str:
        """Of the API."""
        return self.env["PREFECT_API_URL"]

    def __enter__(self) -> PrefectServer:
        self.home.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *arguments: str) -> None:
        """Start it and wait until it answers."""
        command = ("server", "start", "--host", "127.0.0.1", "--port", str(self.port), *arguments)
        self._server = self._popen(command, self.home / "server.log")
        wait_until(self.answers, START_SECONDS, "the Prefect server", self._server)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Stop it as a service manager does. It can be started again."""
        if self._server:
            stop(self._server)

    def kill(self) -> None:
        """Kill it with no chance to say a word. It can be started again."""
        assert self._server
        self._server.kill()
        self._server.wait()

    def prefect(self, *arguments: str) -> str:
        """What a command of Prefect prints, run in the repository root. Raises AssertionError when it fails."""
        done = subprocess.run(
            [*PREFECT, "--no-prompt", *arguments], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"prefect {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def worker(self, pool: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """A process worker of a pool while the block runs. May be killed there: `.kill()`."""
        with self.running("worker", "start", "--pool", pool, "--type", "process", *arguments, **variables) as process:
            yield process

    @contextmanager
    def running(self, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command of Prefect that goes on while the block runs."""
        self._started += 1
        process = self._popen(arguments, self.home / f"{arguments[0]}-{self._started}.log", variables)
        try:
            yield process
        finally:
            stop(process)

    @contextmanager
    def used(self) -> Iterator[None]:
        """This process's flows and clients talk to this server while the block runs."""
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        with temporary_settings({PREFECT_API_URL: self.url, PREFECT_HOME: self.home}):
            yield

    def run(self, flow_run: UUID) -> Any:
        """A flow run as the server knows it."""
        from prefect.client.orchestration import get_client

        with self.used(), get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run)

    def wait_for(self, flow_run: UUID, *names: str, seconds: float = 300) -> Any:
        """The state of a flow run once it is final, or has one of `names` ("Running")."""

        def reached() -> Any:
            state = self.run(flow_run).state
            return state if (state.name in names if names else state.is_final()) else None

        return wait_until(reached, seconds, f"flow run {flow_run} to be {' or '.join(names) or 'over'}")

    def processes(self) -> list[int]:
        """The processes that this server's environment has been handed to: its own, the workers', the flow runs'."""
        return having(f"PREFECT_HOME={self.home}")

    def process_of(self, flow_run: UUID) -> int:
        """The process that a flow run runs in."""
        mine = f"PREFECT__FLOW_RUN_ID={flow_run}"
        return wait_until(lambda: next(iter(having(mine)), None), 120, f"a process of flow run {flow_run}")

    def _popen(
        self, command: tuple[str, ...], log: Path, variables: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [*PREFECT, *command], cwd=ROOT, env=self.env | (variables or {}), stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip


def clean_environment() -> dict[str, str]:
    """The environment without what the person who runs the tests has set for Prefect and Pixelmill."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PIXELMILL_"))}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started in its session: asked first, killed after half a minute."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(
    look: Callable[[], Found | None], seconds: float, what: str, process: subprocess.Popen[bytes] | None = None
) -> Found:
    """What `look` finds, once it finds something. Raises TimeoutError that names `what` was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        if process and process.poll() is not None:
            raise AssertionError(f"Expected {what}. Its process ended with {process.returncode}.")
        time.sleep(0.2)
    raise TimeoutError(f"Expected {what} within {seconds} s.")


def having(variable: str) -> list[int]:
    """The processes in whose environment a variable was, as NAME=value, when they started."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if variable.encode() in _environment(folder)]


def _environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # it has ended, or is somebody else's

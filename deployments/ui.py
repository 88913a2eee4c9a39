"""`make ui`: Prefect server, pools, queues, deployments, automations and workers from one terminal; Ctrl-C stops all.

PREFECT_SERVER_API_PORT names another port than 4200, with a database of its own. What runs for good is in
docs/operations.md.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Never

import httpx

ROOT = Path(__file__).parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # else Python sees what lies beside this script, and not the package that it is in

from deployments.fitting import check_versions  # noqa: E402
from pixelmill.errors import PixelmillError  # noqa: E402
from pixelmill.proxies import settle_proxies  # noqa: E402
from settings import Settings, load_settings  # noqa: E402

HOST = "127.0.0.1"
USUAL_PORT = 4200
SERVER = "The Prefect server"
WORKER = "The worker "
START_SECONDS = 180.0
STOP_SECONDS = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Why everything is to be stopped; without words when a person asked for it."""


def main() -> int:
    settle_proxies(os.environ)
    port = _port(os.environ.get("PREFECT_SERVER_API_PORT", f"{USUAL_PORT}"))
    address = f"http://{HOST}:{port}"
    os.environ.update({**shipped_variables(), **home_of(port), **os.environ, "PREFECT_API_URL": f"{address}/api"})
    for number in SIGNALS:
        signal.signal(number, interrupted)
    with tempfile.TemporaryDirectory(prefix="pixelmill-") as scratch:
        os.environ["TMPDIR"] = scratch  # Prefect's workers share a folder in /tmp, which the first user of it owns
        return run(port, address)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:  # as Kubernetes sets it for a Service called prefect-server-api
        sys.exit(f"Expected PREFECT_SERVER_API_PORT to be a port. Got {text!r}.")
    return int(text)


def home_of(port: int) -> dict[str, str]:
    """Prefect's home, where its database is: the usual one for the usual port, else one of the port's own."""
    return {} if port == USUAL_PORT else {"PREFECT_HOME": os.path.expanduser(f"~/.prefect/port-{port}")}  # noqa: PTH111


def run(port: int, address: str) -> int:
    """Bring everything up, and take it down when a signal or the end of a process says so; the exit code."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        check_versions()
        settings = load_settings()
        check_free(port, address)
        bring_up(processes, settings, address)
        print(f"Pixelmill's flows are at {address}/v2/deployments (Ctrl-C stops everything).", flush=True)
        while True:
            watch(processes)
            time.sleep(0.5)
    except (Stopped, PixelmillError) as reason:
        print(reason, file=sys.stderr, flush=True)
        return 1 if str(reason) else 0
    finally:
        take_down(processes)


def shipped_variables() -> dict[str, str]:
    """The lines of prefect.env."""
    lines = Path(__file__).with_name("prefect.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interrupted(_number: int, _frame: object) -> Never:
    raise Stopped


def check_free(port: int, address: str) -> None:
    """Raises Stopped, with who is there, when the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = error.strerror
        else:
            return
    other = f"or take another port: make ui PREFECT_SERVER_API_PORT={port + 1}"
    if version := prefect_version(address):
        raise Stopped(
            f"A Prefect server ({version}) already runs at {address}. Stop it, {other}. To use that server instead: "
            f"PREFECT_API_URL={address}/api .venv/bin/python deployments/set_up.py, and a worker (docs/operations.md)."
        )
    raise Stopped(f"Port {port} cannot be used: {reason}. Stop the program that holds it, {other}.")


def prefect_version(address: str) -> str:
    """The version of the Prefect server there; nothing if there is none."""
    try:
        answer = httpx.get(f"{address}/api/admin/version", timeout=5)
        return str(answer.json()) if answer.is_success else ""
    except (httpx.HTTPError, ValueError):
        return ""


def bring_up(processes: dict[str, subprocess.Popen[bytes]], settings: Settings, address: str) -> None:
    """Server, then what belongs on it, then workers. All are up when it returns. Raises Stopped when one ends."""
    print("Starting a Prefect server; this takes a moment.", flush=True)
    port = address.rpartition(":")[2]
    processes[SERVER] = prefect("server", "start", "--host", HOST, "--port", port, stdout=subprocess.DEVNULL)
    from deployments.set_up import count_gpus, set_up  # imports Prefect, which reads the variables only then

    wait_for(processes, lambda: bool(prefect_version(address)), SERVER)
    set_up(settings)
    began = time.time()
    for pool in ("cpu", "gpu") if count_gpus() else ("cpu",):
        name = f"{pool} of {socket.gethostname()}"  # the same at each start: not one worker more in the list
        processes[WORKER + name] = prefect("worker", "start", "--pool", pool, "--name", name)
        wait_for(processes, partial(worker_is_up, pool, name, began), WORKER + name)


def prefect(*arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    """Start a command of Prefect in a session of its own: Ctrl-C reaches only this process."""
    return subprocess.Popen([sys.executable, "-m", "prefect", *arguments], stdout=stdout, start_new_session=True)  # noqa: S603


def wait_for(processes: dict[str, subprocess.Popen[bytes]], is_up: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_up():
        watch(processes)
        if time.monotonic() > end:
            raise Stopped(f"{what} did not answer within {START_SECONDS:.0f} s.")
        time.sleep(0.2)


def watch(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Raises Stopped when a process has ended."""
    for name, process in processes.items():
        if process.poll() is not None:
            raise Stopped(f"{name} has ended by itself (exit code {process.returncode}).")


def worker_is_up(pool: str, name: str, began: float) -> bool:
    """Whether a worker has told the server since then that it lives."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(pool)
    return any(w.name == name and w.last_heartbeat_time and w.last_heartbeat_time.timestamp() > began for w in workers)


def take_down(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Stop workers, then the server; the flow runs go with their workers, and the server is told so."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    server = processes.pop(SERVER, None)
    for worker in processes.values():
        stop(worker)
    if server is None:
        return
    try:
        if processes and server.poll() is None:
            crash_runs({name.removeprefix(WORKER) for name in processes})
    finally:
        stop(server)


def crash_runs(workers: Collection[str]) -> None:
    """A worker that is stopped kills its runs and tells nobody."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    going = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=going))):
            if run.labels.get("prefect.worker.name") in workers and not is_alive(run.infrastructure_pid):
                client.set_flow_run_state(run.id, Crashed(message="`make ui` was stopped."))


def is_alive(process: str | None) -> bool:
    """Whether there is such a process on this machine, told by its number, as "1234" or "machine:1234"."""
    number = (process or "").rpartition(":")[2]
    try:
        state = Path(f"/proc/{number or 0}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")  # dead, though nobody has taken notice
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())

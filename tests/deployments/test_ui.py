"""`make ui`: all in one terminal, nothing twice, nothing left behind; told in words when it cannot be."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL
from prefect.states import Running

from deployments.ui import home_of, is_alive, shipped_variables
from tests.support import waiting
from tests.support.deployed import DEPLOYED, inventory
from tests.support.prefect_server import ROOT, PrefectServer, wait_until

UP = "(Ctrl-C stops everything)"


class Terminal:
    """`make ui` in a terminal whose address, folder and variables are those of a server that does not run yet."""

    def __init__(self, server: PrefectServer, home: Path | None = None) -> None:
        """With `home`, that folder is the person's, and the server's is found by itself."""
        self.server, self.home = server, home
        self.log = server.home / "terminal.log"

    @contextmanager
    def open(self) -> Iterator[subprocess.Popen[bytes]]:
        """Wait until it says that it is up; in the end, ask it to stop."""
        self.server.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            process = subprocess.Popen(**self._command(), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: UP in self.log.read_text(), 240, f"{UP} in {self.log}", process)
            yield process
        finally:
            process.terminate()
            process.wait(90)

    def refusal(self) -> str:
        """What it says when it does not start; its exit code is 1, and nothing is on stdout."""
        done = subprocess.run(**self._command(), capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    def _command(self) -> dict[str, Any]:
        unset = {"PREFECT_API_URL", "PREFECT_HOME"} if self.home else {"PREFECT_API_URL"}
        env = {name: value for name, value in self.server.env.items() if name not in unset}
        port = {"PREFECT_SERVER_API_PORT": str(self.server.port)} | ({"HOME": str(self.home)} if self.home else {})
        return {"args": [sys.executable, ROOT / "deployments" / "ui.py"], "env": env | port}


@pytest.fixture
def demo_store() -> Iterator[Path]:
    """Where the demo writes: in the checkout. One that was there stays."""
    store = ROOT / "demo-store"
    was_there = store.exists()
    yield store
    if not was_there:
        shutil.rmtree(store, ignore_errors=True)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(PrefectServer(tmp_path / "prefect", **shipped_variables()))


def test_a_port_that_another_program_holds_is_named(terminal: Terminal) -> None:
    """Port, reason and what to do; nothing is started."""
    with http.server.HTTPServer(("127.0.0.1", terminal.server.port), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        said = terminal.refusal()
        other.shutdown()
    port = terminal.server.port
    assert said == (
        f"Port {port} cannot be used: Address already in use. Stop the program that holds it, or take another port: "
        f"make ui PREFECT_SERVER_API_PORT={port + 1}.\n"
    )
    assert terminal.server.processes() == []


def test_settings_that_are_wrong_are_told_before_anything_starts(terminal: Terminal) -> None:
    """A misspelt name in pixelmill.toml is a message, not a server without workers."""
    Path("pixelmill.toml").write_text("[run]\nmodel = ['resnet18']\n")
    assert "model is not a setting. Did you mean 'models'?" in terminal.refusal()
    assert terminal.server.processes() == []


@pytest.mark.usefixtures("prefect_api")
def test_a_prefect_server_that_runs_already_is_left_alone(terminal: Terminal) -> None:
    """It says which version runs there, and how to use it."""
    address = str(PREFECT_API_URL.value()).removesuffix("/api")
    terminal.server.port = int(address.rpartition(":")[2])
    assert terminal.refusal().startswith(
        f"A Prefect server ({prefect.__version__}) already runs at {address}. Stop it, or"
    )
    assert httpx.get(f"{address}/api/health").is_success


def test_the_set_up_needs_a_server(terminal: Terminal) -> None:
    """Without an address, or where nobody answers, it says so; Prefect would start a server for a moment."""
    command = [sys.executable, ROOT / "deployments" / "set_up.py"]
    env = dict(terminal.server.env)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Expected a Prefect server at {env.pop('PREFECT_API_URL')}.")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.split(" to name")[0]) == (1, "Expected PREFECT_API_URL")


def test_each_port_has_its_database() -> None:
    """The usual port keeps Prefect's usual home, another has one of its own."""
    assert home_of(4200) == {}
    assert home_of(4300)["PREFECT_HOME"].endswith("/.prefect/port-4300")


def test_only_runs_whose_process_is_gone_are_over() -> None:
    """A process is told by its number, with or without the machine's name; a run that has none yet is nobody's."""
    process = subprocess.Popen(["sleep", "60"])
    assert is_alive(f"{process.pid}")
    assert is_alive(f"millhouse:{process.pid}")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(f"{process.pid}")  # dead, though nobody has taken notice
    process.wait()
    assert not is_alive(f"{process.pid}")
    assert not is_alive(None)


@pytest.mark.system
@pytest.mark.timeout(900)
def test_all_comes_up_once_and_goes_down_whole(terminal: Terminal, demo_store: Path) -> None:
    """Twice the same things are there; the demo runs; a run that goes down with it is Crashed, one that no worker of it
    had is left alone; no process is left."""
    server = terminal.server
    with terminal.open() as process, server.used(), get_client(sync_client=True) as client:
        first = inventory(client)
        assert first["deployments"] == DEPLOYED
        assert {"cpu", "gpu"} <= set(first["pools"])
        assert first["schedules"] == ["daily", "nightly", "weekly"]
        assert not [one for one in client.read_deployments() for schedule in one.schedules if schedule.active]
        assert len(first["automations"]) == 1
        demo: Any = run_deployment("vectorize/demo", timeout=0)
        assert server.wait_for(demo.id, seconds=300).name == "Completed"
        assert (demo_store / "vectors.h5").is_file()
        waiting.deploy("long", "cpu")
        elsewhere = client.create_flow_run(waiting.wait, parameters={"seconds": 1}, state=Running())
        run = waiting.start("long", 600)
        server.wait_for(run, "Running")
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
        assert server.processes() == []
    with terminal.open() as process, server.used(), get_client(sync_client=True) as client:
        assert inventory(client) == first | {"deployments": sorted([*first["deployments"], "long"])}
        assert (server.run(run).state.name, server.run(run).state.message) == ("Crashed", "`make ui` was stopped.")
        assert server.run(elsewhere.id).state.name == "Running"
        assert terminal.refusal().startswith("A Prefect server")
        process.terminate()
        assert process.wait(90) == 0
    assert server.processes() == []


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_second_one_on_another_port_leaves_the_first_alone(tmp_path: Path) -> None:
    """It has a database of its own, and takes no run of the first with it."""
    terminals = []
    for _ in range(2):
        server = PrefectServer(tmp_path, **shipped_variables())
        server.home = tmp_path / ".prefect" / f"port-{server.port}"
        terminals.append(Terminal(server, home=tmp_path))
    first, second = terminals
    with first.open(), first.server.used():
        waiting.deploy("long", "cpu")
        run = waiting.start("long", 600)
        first.server.wait_for(run, "Running")
        with second.open(), second.server.used(), get_client(sync_client=True) as client:
            assert "long" not in inventory(client)["deployments"]
        assert first.server.run(run).state.name == "Running"
    for terminal in terminals:
        assert (terminal.server.home / "prefect.db").is_file()


@pytest.mark.system
@pytest.mark.timeout(600)
def test_a_server_that_dies_ends_it_all(terminal: Terminal) -> None:
    """A process that ends by itself is named, the others are stopped, and the exit code says that it went wrong."""
    server = terminal.server
    with terminal.open() as process:
        (pid,) = [pid for pid in server.processes() if b"server\0start" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
        assert process.wait(90) == 1
    assert "The Prefect server has ended by itself (exit code -9)." in terminal.log.read_text()
    assert server.processes() == []

"""Flow runs that are killed, their workers too, and a server that goes away: no run is Running for ever, no queue blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.states import Cancelled, Completed, Failed, Running
from prefect.workers.process import ProcessWorker

from deployments.set_up import ZOMBIES, install_automation
from deployments.ui import shipped_variables
from tests.support import waiting
from tests.support.prefect_server import PrefectServer, having, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
SILENCE = 45
"""Seconds without a sign of life after which a run is a zombie here: Prefect's heartbeats come every 30 s at most."""
SOON = SILENCE + 300
ONE_NIGHT = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
STARTING = ("Pending", "Submitting", "InfrastructurePending")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """With what is shipped, but quicker: pool `cpu`, `wait/night` with a limit of 1, `wait/queued` in a queue with one."""
    variables = shipped_variables() | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    with PrefectServer(tmp_path_factory.mktemp("zombies") / "home", **variables) as server:
        with server.used(), get_client(sync_client=True) as client:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name="cpu", type="process", base_job_template=template))
            client.create_work_queue("one", work_pool_name="cpu", concurrency_limit=1)
            waiting.deploy("night", "cpu", concurrency_limit=ONE_NIGHT)
            waiting.deploy("queued", "cpu", work_queue_name="one")
        yield server


@pytest.fixture(autouse=True)
def used(server: PrefectServer) -> Iterator[None]:
    with server.used():
        yield


def watch_for(silence: int) -> None:
    """Install the automation that is shipped, for a shorter silence."""
    with get_client(sync_client=True) as client:
        install_automation(client, ZOMBIES, within=silence)


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def processes_of(run: UUID) -> list[int]:
    return having(f"PREFECT__FLOW_RUN_ID={run}")


def test_a_killed_process_is_told_by_its_worker(server: PrefectServer) -> None:
    """The run is Crashed at once, and the next night is not in its way."""
    with server.worker("cpu"):
        run = waiting.start("night", 600)
        server.wait_for(run, "Running")
        kill(server.process_of(run))
        assert server.wait_for(run).name == "Crashed"
        assert server.wait_for(waiting.start("night", 0)).name == "Completed"


def test_a_night_that_goes_on_is_not_joined_by_the_next(server: PrefectServer) -> None:
    """The second is Cancelled, and says why; the first goes on."""
    with server.worker("cpu"):
        first = waiting.start("night", 60)
        server.wait_for(first, "Running")
        second = server.wait_for(waiting.start("night", 0))
        assert (second.name, second.message) == ("Cancelled", "Deployment concurrency limit reached.")
        assert server.wait_for(first).name == "Completed"


def test_runs_killed_with_their_worker_are_crashed_and_block_nobody(server: PrefectServer) -> None:
    """Running or about to be, they become Crashed; a run that waits in the queue and the next night go on then."""
    watch_for(SILENCE)
    with server.worker("cpu") as worker:
        running = [waiting.start("night", 600), waiting.start("queued", 600)]
        for run in running:
            server.wait_for(run, "Running")
        starting = waiting.start("night", 600)  # cancelled by the limit
        assert server.wait_for(starting).name == "Cancelled"
        waiting.deploy("other", "cpu")
        starting = waiting.start("other", 600)
        server.wait_for(starting, *STARTING)
        worker.kill()
        kill(*processes_of(starting), *(server.process_of(run) for run in running))
    died = time.time()
    with server.worker("cpu"):
        waits = waiting.start("queued", 0)
        for run in running:
            state = server.wait_for(run, seconds=SOON)
            assert state.name == "Crashed"
            assert state.message.startswith("No sign of life")
        assert server.wait_for(starting, seconds=SOON).name == "Crashed"
        assert server.wait_for(waits).name == "Completed"
        assert server.run(waits).start_time.timestamp() > died
        assert server.wait_for(waiting.start("night", 0)).name == "Completed"


def test_a_run_outlives_its_worker(server: PrefectServer) -> None:
    """A worker that is killed alone takes no run with it: the run says itself that it is done."""
    with server.worker("cpu") as worker:
        run = waiting.start("night", 30)
        server.wait_for(run, "Running")
        worker.kill()
        assert server.wait_for(run).name == "Completed"


def test_a_night_outlives_a_restart_of_the_server(server: PrefectServer) -> None:
    """A server that is killed and comes back finds the run going on, with its slot, and the next night has it afterwards."""
    watch_for(300)
    with server.worker("cpu"):
        run = waiting.start("night", 120)
        server.wait_for(run, "Running")
        server.kill()
        server.start()
        assert server.wait_for(run).name == "Completed"
        assert server.wait_for(waiting.start("night", 0)).name == "Completed"


def test_a_run_that_died_while_the_server_was_down_is_crashed(server: PrefectServer) -> None:
    """As when the machine loses its power: the server comes back long after the run would have been found silent."""
    watch_for(SILENCE)
    with server.worker("cpu") as worker:
        run = waiting.start("night", 600)
        server.wait_for(run, "Running")
        process = server.process_of(run)
        server.kill()
        worker.kill()
        kill(process)
    time.sleep(SILENCE + 75)
    server.start()
    assert server.wait_for(run, seconds=SOON).name == "Crashed"
    with server.worker("cpu"):
        assert server.wait_for(waiting.start("night", 0)).name == "Completed"


def fired(run: UUID) -> bool:
    """Whether the automation has found a run silent."""
    triggered = EventFilter(event=EventNameFilter(name=["prefect.automation.triggered"]))
    with get_client(sync_client=True) as client:
        told = client.read_events(triggered, limit=50).events
    return any(f"prefect.flow-run.{run}" in event.model_dump_json() for event in told)


def test_runs_that_are_over_are_left_alone(server: PrefectServer) -> None:
    """A state of any name ends the watch. A sign of life that comes late begins it anew, and changes nothing then."""
    watch_for(SILENCE)
    with get_client(sync_client=True) as client:
        ends = [Completed(name="CompletedWithWarnings"), Cancelled(), Failed(name="SourcesMissing"), Completed()]
        runs = [client.create_flow_run(waiting.wait, parameters={"seconds": 0}).id for _ in ends]
        for states in ([Running() for _ in ends], ends):
            for run, state in zip(runs, states, strict=True):
                client.set_flow_run_state(run, state)
                time.sleep(1)  # of a burst Prefect's server drops what finds its SQLite locked, within milliseconds
    late = runs[-1]
    emit_event("prefect.flow-run.heartbeat", resource={"prefect.resource.id": f"prefect.flow-run.{late}"})
    wait_until(lambda: fired(late), SOON, "the watch over the last")
    assert [server.run(run).state.name for run in runs] == [end.name for end in ends]
    assert not any(fired(run) for run in runs if run != late)


def test_no_process_is_left(server: PrefectServer) -> None:
    """What these tests killed is gone; only the server runs."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "-p", ",".join(map(str, server.processes()))], capture_output=True, text=True
    )
    assert [line for line in listed.stdout.splitlines() if "prefect server start" not in line] == []

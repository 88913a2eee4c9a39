"""Runs of the real flow while what is around them goes away: their worker, the server."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Log
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment

from deployments.set_up import ZOMBIES, install_automation
from deployments.ui import shipped_variables
from pixelmill.errors import PixelmillError
from pixelmill.store.lock import store_lock
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.prefect_server import PrefectServer, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
MODEL = "efficientnet_lite0"
IMAGES = 200
MANY = 1200
"""As many as take longer than a line of the log, on a quick machine too."""
SOON = 400.0
AWAY = 75.0
"""Seconds for which the server is away: longer than Prefect asks for by default."""
WAITED = 35.0
PHASES = (
    "Looking at the sources", "Looking at the sources: .* now", f"{IMAGES} images in the sources, found in ",
    f"weights {MODEL}", "Preparing models and plan", f"To embed: {IMAGES} images with {MODEL}", "Embedding", "Publishing",
    f"Since the last run: {IMAGES} new", "for the report", f"{IMAGES:,} new images. .* vectors made in",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """With what is shipped, the pool `cpu`, and `vectorize` deployed there."""
    with PrefectServer(tmp_path_factory.mktemp("outages") / "home", **shipped_variables()) as server:
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        server.prefect(
            "deploy", "flows/vectorize.py:vectorize", "--name", "night", "--pool", "cpu", "--concurrency-limit", "1"
        )
        with server.used(), get_client(sync_client=True) as client:
            install_automation(client, ZOMBIES)
        yield server


@pytest.fixture
def config(tmp_path: Path, save_picture: SavePicture, request: pytest.FixtureRequest) -> str:
    """Settings with sources whose images take a while, and a store that is written to every few seconds."""
    for seed in range(getattr(request, "param", IMAGES)):
        save_picture(tmp_path / "photos" / f"{seed:03}.png", seed)
    file = tmp_path / "pixelmill.toml"
    file.write_text(
        f"""[run]
        sources = ["{tmp_path}/photos"]
        store = "{tmp_path}/store"
        models = ["{MODEL}"]
        precision = "float32"
        device = "cpu"
        batch_size = 4
        shard_size = 8"""
    )
    return str(file)


def start(config: str) -> UUID:
    """Order a run of `vectorize/night`; its id."""
    run: Any = run_deployment("vectorize/night", parameters={"config": config}, timeout=0)
    return UUID(str(run.id))


def embedded(store: Path) -> int:
    try:
        return int(Store(store)[MODEL].embedded.sum())
    except PixelmillError:
        return 0


def test_a_run_outlives_its_worker(server: PrefectServer, config: str, tmp_path: Path) -> None:
    """One that is killed alone, in the middle: the run embeds the rest, says so and is Completed. The next run is
    another worker's."""
    with server.used():
        with server.worker("cpu") as worker:
            run = start(config)
            wait_until(lambda: embedded(tmp_path / "store"), SOON, "a first commit")
            process = server.process_of(run)
            worker.kill()
            worker.wait()
            assert embedded(tmp_path / "store") < IMAGES / 2
        assert server.process_of(run) == process
        assert server.wait_for(run, seconds=SOON).name == "Completed"
        assert embedded(tmp_path / "store") == IMAGES
        wait_until(lambda: process not in server.processes(), 300, "the end of the run's process")
        with server.worker("cpu"):
            assert server.wait_for(start(config), seconds=SOON).name == "Completed"


def log_of(run: UUID) -> list[Log]:
    """All lines of a run's log, in order, as the browser shows them; those of its tasks as well."""
    lines: list[Log] = []
    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        while page := client.read_logs(mine, limit=200, offset=len(lines), sort=LogSort.TIMESTAMP_ASC):
            lines += page
    return lines


def gap(lines: list[Log]) -> float:
    """The most seconds between two lines."""
    return max((later.timestamp - one.timestamp).total_seconds() for one, later in pairwise(lines))


def test_a_run_says_what_it_is_at(server: PrefectServer, config: str, tmp_path: Path) -> None:
    """In the browser's log: each phase and what came of it, warnings too, and something every few seconds, also while
    it waits for another process that writes to the store."""
    with server.used(), server.worker("cpu"):
        (tmp_path / "store").mkdir()
        with store_lock(tmp_path / "store"):
            run = start(config)
            told = f"waiting for the lock {tmp_path}/store/.lock"
            wait_until(lambda: any(told in line.message for line in log_of(run)), SOON, "a run that waits")
            time.sleep(WAITED)
        assert server.wait_for(run, seconds=SOON).name == "Completed"
        wait_until(
            lambda: any("in state Completed(" in line.message for line in log_of(run)[-3:]), 300, "its last line"
        )
        lines = log_of(run)
    said = [line.message for line in lines]
    assert [words for words in PHASES if not any(re.search(words, line) for line in said)] == []
    first = next(i for i, line in enumerate(lines) if line.name.startswith("pixelmill"))
    assert gap(lines[first:]) < 20
    assert said.count("Looking at the sources") == 1


def slot_seconds(server: PrefectServer) -> float:
    """For how long the slot of the run that goes on is its own."""
    (file,) = (server.home / "concurrency_leases").glob("*-*.json")
    return float(
        (datetime.fromisoformat(json.loads(file.read_text())["expiration"]) - datetime.now(UTC)).total_seconds()
    )


@pytest.mark.parametrize("config", [MANY], indirect=True)
def test_a_run_outlives_a_server_that_is_away(server: PrefectServer, config: str, tmp_path: Path) -> None:
    """It goes on embedding meanwhile, and when the server is back it has the right state, and the lines of its log from
    when nobody took them."""
    with server.used(), server.worker("cpu"):
        run = start(config)
        wait_until(lambda: embedded(tmp_path / "store"), SOON, "a first commit")
        assert slot_seconds(server) > 2 * AWAY + 300
        server.stop()
        away, done = datetime.now(UTC), embedded(tmp_path / "store")
        time.sleep(AWAY)
        assert embedded(tmp_path / "store") > done
        back = datetime.now(UTC)
        server.start()
        state = server.wait_for(run, seconds=SOON)
        assert (state.name, state.is_completed()) == ("Completed", True)
        assert embedded(tmp_path / "store") == MANY
        assert server.wait_for(start(config), seconds=SOON).name == "Completed"
        lines = log_of(run)
    assert [line for line in lines if away < line.timestamp < back and line.name.startswith("pixelmill")]

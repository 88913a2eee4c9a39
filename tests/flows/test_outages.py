"""Runs of the real flow while what is around them goes away: their worker, the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from deployments.set_up import ZOMBIES, install_automation
from deployments.ui import shipped_variables
from pixelmill.errors import PixelmillError
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.prefect_server import PrefectServer, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
MODEL = "efficientnet_lite0"
IMAGES = 300
SOON = 300.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """With what is shipped, the pool `cpu`, and `vectorize` deployed there."""
    with PrefectServer(tmp_path_factory.mktemp("outages") / "home", **shipped_variables()) as server:
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        server.prefect("deploy", "flows/vectorize.py:vectorize", "--name", "night", "--pool", "cpu")
        with server.used(), get_client(sync_client=True) as client:
            install_automation(client, ZOMBIES)
        yield server


@pytest.fixture
def config(tmp_path: Path, save_picture: SavePicture) -> str:
    """Settings with sources whose images take a while, and a store that is written to every few seconds."""
    for seed in range(IMAGES):
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
        wait_until(lambda: process not in server.processes(), 60, "the end of the run's process")
        with server.worker("cpu"):
            assert server.wait_for(start(config), seconds=SOON).name == "Completed"

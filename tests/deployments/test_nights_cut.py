"""Nights that do not come to their end, by a real server and worker: each leaves a report, in the store and in the UI."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from pixelmill.report.history import recorded
from pixelmill.report.model import RunReport
from pixelmill.store.readonly import ledger_of
from tests.conftest import SavePicture
from tests.support.prefect_server import PrefectServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
IMAGES, HERE, NOWHERE = 5, "efficientnet_lite0", "resnet18"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with ExitStack() as stack:
        server = stack.enter_context(PrefectServer(tmp_path_factory.mktemp("cut") / "home"))
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        server.prefect("deploy", "flows/vectorize.py:vectorize", "--name", "vectorize", "--pool", "cpu")
        stack.enter_context(server.used())
        stack.enter_context(server.worker("cpu"))
        yield server


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return tmp_path / "photos"


def start(photos: Path, *models: str) -> UUID:
    """A night with some models, one of which has no weights on this machine, and no network to bring them."""
    folder = photos.parent
    (folder / "pixelmill.toml").write_text(
        f'[run]\nstore = "{folder}/store"\nprecision = "float32"\n[weights]\noffline = true\ncache_dir = "{folder}/cache"'
    )
    parameters = {"sources": [str(photos)], "models": list(models), "config": f"{folder}/pixelmill.toml"}
    return UUID(str(run_deployment("vectorize/vectorize", parameters=parameters, timeout=0).id))  # type: ignore[union-attr]


def reports(photos: Path, run: UUID) -> tuple[RunReport, str]:
    """The last report of the store, and the text of the run's one report in the UI."""
    with ledger_of(photos.parent / "store") as ledger, get_client(sync_client=True) as client:
        assert ledger
        told = client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        (text,) = [str(artifact.data) for artifact in told if artifact.type == "markdown"]
        return recorded(ledger, 1)[0], text


def test_a_night_that_fails(server: PrefectServer, photos: Path) -> None:
    """For want of its only model: nothing is embedded, and the report says why and what waits."""
    run = start(photos, NOWHERE)
    state = server.wait_for(run, seconds=300)
    report, text = reports(photos, run)
    assert state.name == "Failed"
    assert (report.ended, report.models[NOWHERE].pending) == ("failed", IMAGES)
    assert report.error in state.message
    assert text.startswith("# Failed. 5 vectors pending.")


def test_a_night_without_one_of_its_models(server: PrefectServer, photos: Path) -> None:
    """What the other one could do is done; the night fails, and its message says what to do."""
    run = start(photos, NOWHERE, HERE)
    state = server.wait_for(run, seconds=300)
    report, text = reports(photos, run)
    assert state.name == "Failed"
    assert f"`pixelmill pull {NOWHERE}`" in state.message
    assert {name: model.pending for name, model in report.models.items()} == {NOWHERE: IMAGES, HERE: 0}
    assert text.startswith("# Failed. 5 new images. 5 vectors made in ")


def test_a_night_that_is_cancelled_before_it_embeds(server: PrefectServer, photos: Path) -> None:
    """While it waits for its turn: the report is there, by the time the run is over."""
    assert server.wait_for(start(photos, HERE), seconds=300).name == "Completed"
    with (photos.parent / "store" / ".run").open("r+b") as turn, get_client(sync_client=True) as client:
        fcntl.flock(turn, fcntl.LOCK_EX)
        run = start(photos, HERE)
        server.wait_for(run, "Running", seconds=300)
        client.set_flow_run_state(run, Cancelling())
        assert server.wait_for(run, seconds=60).name == "Cancelled"
    report, text = reports(photos, run)
    assert (report.ended, list(report.models)) == ("cancelled", [HERE])
    assert text.startswith("# Cancelled.")

"""Nights as they are deployed, by a real server and worker: how they end, what is said of it, and to whom."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from flows._ends import WITH_WARNINGS
from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from tasks._artifacts import key_of
from tests.support.notified import posts
from tests.support.prefect_server import ROOT, PrefectServer, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]
IMAGES = 500
DEPLOYED = ("nightly", "maintain", "index")


@pytest.fixture(scope="module")
def posted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, Any]]]:
    """What the notifications that are shipped have posted."""
    with posts() as (address, posted):
        posted.append(("address", address))
        yield posted


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, posted: list[tuple[str, Any]]) -> Iterator[PrefectServer]:
    """With what is shipped, a worker of pool `cpu`, and the notifications by webhook."""
    with ExitStack() as stack:
        server = stack.enter_context(PrefectServer(tmp_path_factory.mktemp("nights") / "home"))
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        for name in DEPLOYED:
            server.prefect("deploy", "--prefect-file", "deployments/prefect.yaml", "--name", name)
        with server.used():
            block = Webhook(url=f"{posted[0][1]}/webhook").save("nights")
            template = (ROOT / "deployments" / "automations" / "notify-webhook.yaml").read_text()
            (server.home / "notify.yaml").write_text(template.replace("FILL-IN", str(block), 2))
            server.prefect("automation", "create", "--from-file", str(server.home / "notify.yaml"))
            stack.enter_context(server.worker("cpu"))
            yield server


def start(name: str, **options: Any) -> UUID:
    run: Any = run_deployment(name, timeout=0, **options)
    return UUID(str(run.id))


def some_embedded(folder: Path) -> bool:
    try:
        return len(Store(folder)) >= 64
    except (StoreError, StoreDamaged):
        return False


def fill(folder: Path, count: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(len(folder.name))
    for number in range(count):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def configure(folder: Path, **run: object) -> str:
    given = {"store": f"{folder}/store", "precision": "float32", "batch_size": 8, "shard_size": 128, **run}
    lines = [f"{name} = {value!r}" for name, value in given.items()]
    (folder / "pixelmill.toml").write_text("\n".join(["[run]", *lines]))
    return str(folder / "pixelmill.toml")


def test_a_source_that_goes_away_while_it_is_embedded(
    server: PrefectServer, tmp_path: Path, posted: list[tuple[str, Any]]
) -> None:
    """The night ends with warnings; its one line says how many were done and how many not; somebody is told of it."""
    photos = fill(tmp_path / "photos", IMAGES)
    config = configure(tmp_path)
    run = start("vectorize/nightly", parameters={"sources": [str(photos)], "config": config})
    wait_until(lambda: some_embedded(tmp_path / "store"), 300, "some embedded")
    photos.rename(tmp_path / "away")
    state = server.wait_for(run, seconds=300)
    done = int(Store(tmp_path / "store")["efficientnet_lite0"].embedded.sum())
    assert 0 < done < IMAGES
    assert (state.name, state.message) == (
        WITH_WARNINGS,
        f"{done} new, {done} embedded, {IMAGES - done} pending. {IMAGES - done} of {IMAGES} images of {photos} could "
        "not be read: the source is gone.",
    )
    (body,) = wait_until(lambda: [body for _, body in posted[1:]], 60, "a word of it")
    assert body | {"night": "has warnings", "state": WITH_WARNINGS, "message": state.message} == body


@pytest.mark.parametrize("missing_source", ["warn", "fail"])
def test_an_empty_mount_point(server: PrefectServer, tmp_path: Path, missing_source: str) -> None:
    """Beside a source that is there: the night warns, or fails as the settings say; nothing counts as removed."""
    photos, scans = fill(tmp_path / "photos", 12), fill(tmp_path / "scan", 12)
    config = configure(tmp_path, missing_source=missing_source)
    parameters = {"sources": [str(photos), str(scans)], "config": config}
    first = server.wait_for(start("vectorize/nightly", parameters=parameters), seconds=300)
    assert (first.name, first.message) == ("Completed", "24 new, 24 embedded.")
    shutil.rmtree(photos)
    photos.mkdir()
    state = server.wait_for(start("vectorize/nightly", parameters=parameters), seconds=300)
    assert state.name == {"warn": WITH_WARNINGS, "fail": "Failed"}[missing_source]
    assert state.message == (
        "Nothing new. All 12 images are embedded with efficientnet_lite0. 12 of 12 images of "
        f"{photos} could not be read: the source is empty."
    )
    with ledger_of(tmp_path / "store") as ledger:
        assert ledger
        assert ledger.runs.last(1)[0]["images"]["removed"] == 0


def test_a_night_that_a_worker_takes_after_its_deadline(server: PrefectServer, tmp_path: Path) -> None:
    """Scheduled, with a deadline that is over when its process has started: it ends at once, embeds nothing, and says
    so. One that a person starts has the time."""
    photos = fill(tmp_path / "photos", 12)
    parameters = {"sources": [str(photos)], "config": configure(tmp_path), "deadline": "1s"}
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("vectorize/nightly")
        schedule = {"cron": "* * * * *", "timezone": "UTC"}
        body = [{"schedule": schedule, "active": True, "parameters": parameters, "slug": "late"}]
        made = client._client.post(f"/deployments/{nightly.id}/schedules", json=body).json()

        def ended() -> Any:
            runs = client._client.post("/flow_runs/filter", json={"sort": "EXPECTED_START_TIME_ASC"}).json()
            return next((r for r in runs if r["auto_scheduled"] and r["state"]["type"] == "COMPLETED"), None)

        run = wait_until(ended, 240, "a night that a schedule made")
        client._client.delete(f"/deployments/{nightly.id}/schedules/{made[0]['id']}")
        active = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
        wait_until(lambda: client._client.post("/flow_runs/filter", json=active).json() == [], 240, "the last of them")
    assert run["state"]["name"] == WITH_WARNINGS
    assert "after its deadline at" in run["state"]["message"]
    assert len(Store(tmp_path / "store")) == 0
    by_hand = start("vectorize/nightly", parameters={**parameters, "deadline": "10m"})
    assert server.wait_for(by_hand, seconds=300).message == "12 new, 12 embedded."


def test_pausing_a_schedule_and_resuming_it_keeps_the_deadline(server: PrefectServer) -> None:
    """As Prefect's UI does it, which empties the schedule's own parameters: the runs that it makes have the deadline."""
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("vectorize/nightly")
        assert nightly.parameters == {"deadline": "06:00"}
        body = [{"schedule": {"cron": "0 22 * * *", "timezone": "UTC"}, "active": True, "slug": "by-the-test"}]
        made = client._client.post(f"/deployments/{nightly.id}/schedules", json=body).json()
        path = f"/deployments/{nightly.id}/schedules/{made[0]['id']}"
        for active in (False, True):
            client._client.patch(path, json={"active": active}).raise_for_status()

        def scheduled() -> list[dict[str, Any]]:
            wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
            runs = client._client.post("/flow_runs/filter", json=wanted).json()
            return [run["parameters"] for run in runs if run["created_by"]["id"] == made[0]["id"]]

        assert all(given == {"deadline": "06:00"} for given in wait_until(scheduled, 120, "runs of the schedule"))
        client._client.delete(path)


def test_a_run_name_that_a_person_typed_stays(server: PrefectServer, tmp_path: Path) -> None:
    """One that the form has filled in does not."""
    photos = fill(tmp_path / "photos", 1)
    parameters = {"sources": [str(photos)], "config": configure(tmp_path), "dry_run": True}
    typed = start("vectorize/nightly", parameters=parameters, flow_run_name="before the move")
    assert server.wait_for(typed, seconds=300).message == "A run would embed 1 of 1 image."
    made_up = start("vectorize/nightly", parameters=parameters, flow_run_name="phi3-andromedae")
    server.wait_for(made_up, seconds=300)
    names = [server.run(run).name for run in (typed, made_up)]
    assert names == ["before the move", "photos with efficientnet_lite0 (dry run)"]


def test_looking_after_a_store_that_is_missing_or_small(server: PrefectServer, tmp_path: Path) -> None:
    """`maintain` and `index` end well, with a word, a name and an artifact; a damaged store fails `maintain`."""
    config = configure(tmp_path)
    for flow in ("maintain", "index"):
        state = server.wait_for(start(f"{flow}/{flow}", parameters={"config": config}), seconds=300)
        assert (state.name, state.message.split(",")[0]) == ("Completed", f"There is no store in {tmp_path}/store yet")
    photos = fill(tmp_path / "photos", 12)
    server.wait_for(start("vectorize/nightly", parameters={"sources": [str(photos)], "config": config}), seconds=300)
    said = {"maintain": "Sound: 12 images. Nothing to merge", "index": "efficientnet_lite0: no index, and searches"}
    for flow, words in said.items():
        run = start(f"{flow}/{flow}", parameters={"config": config})
        state = server.wait_for(run, seconds=300)
        assert state.name == "Completed"
        assert state.message.startswith(words)
        assert server.run(run).name == f"{flow} store"
        with get_client(sync_client=True) as client:
            artifacts = [a for a in client.read_artifacts() if a.flow_run_id == run]
        assert [artifact.key for artifact in artifacts] == [key_of(flow, tmp_path / "store")]
    part = next((tmp_path / "store" / "parts").glob("*.h5"))
    part.write_bytes(part.read_bytes()[:-100])
    state = server.wait_for(start("maintain/maintain", parameters={"config": config}), seconds=300)
    assert state.name == "Failed"
    assert "damaged" in state.message

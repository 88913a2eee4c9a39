"""Prefect workers on machines that share nothing with the run but a bucket: the store holds what one process makes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import flows._workers
import pixelmill.run.worker
from flows.vectorize import vectorize
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.conftest import SavePicture
from tests.support.machines import MODEL, Site
from tests.support.prefect_server import PrefectServer, wait_until
from tests.support.sick_s3 import SickS3

IMAGES = 40
"""The first eight of them are embedded when the matrix is settled."""
LATER = 240
"""More than a worker does until the deadline."""
pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with the pools and the deployments of `embed` that are shipped."""
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        for pool in ("cpu", "gpu"):
            server.prefect("work-pool", "create", pool, "--type", "process")
        for name in ("embed-cpu", "embed-gpu"):
            server.prefect("deploy", "--prefect-file", "deployments/prefect.yaml", "--name", name)
        yield server


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SickS3]:
    """The S3 server of these tests, in place of everybody's."""
    server = SickS3(tmp_path_factory.mktemp("sick-s3") / "log")
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def site(server: PrefectServer, s3_server: SickS3, tmp_path: Path) -> Iterator[Site]:
    """A store, and a bucket of its own."""
    with Site(server, s3_server, tmp_path, tmp_path.name.replace("_", "-")[:60]) as site:
        yield site


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while the block runs; what it raises, fails the test."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failures, failures


def night(site: Site, *sources: object, **settings: Any) -> Any:
    """A run in this process, which has the server."""
    with site.server.used():
        return vectorize([*map(str, sources)] or [site.photos], config=site.settings(**settings))


def assert_all_embedded(report: Any, images: int = IMAGES) -> None:
    assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (images, 0)
    assert not report.exceeded_failure_rate


def assert_as_inline(site: Site, folder: Path) -> None:
    """The store is sound, and holds bit for bit what a run in this process makes of the same pictures."""
    assert verify(site.store) == []
    precision = Store(site.store)[MODEL].provenance.precision  # which is fastest is measured, here and there
    with site.server.used():
        vectorize([str(folder)], store=str(folder.parent / "inline"), models=[MODEL], precision=precision)
    assert site.vectors() == site.vectors(folder.parent / "inline") != {}


def test_as_one_process(site: Site, save_picture: SavePicture) -> None:
    """Two pools, two machines that do not see the store, a new store and everything automatic: the vectors are those of
    one process, and nothing is left at the hand-over place. Prefect's page has the workers' runs by their names, how far
    they are, and the report. The second night there is nothing to do for them."""
    folder = site.pictures(save_picture, IMAGES)
    with site.machine("one"), site.machine("two", network=True):
        report = night(site)
        assert not report.warnings
        assert_all_embedded(report)
        assert set(report.workers) == {"one", "two"}
        assert sum(did.images for did in report.workers.values()) == IMAGES
        assert site.handed_over() == []
        assert_shown(site)
        assert night(site).models[MODEL].embedded == 0
    assert_as_inline(site, folder)


def assert_shown(site: Site) -> None:
    """What Prefect's page shows of the first run of the store."""
    runs = httpx.post(f"{site.server.url}/flow_runs/filter", json={}).json()
    assert {(run["name"], run["state_name"]) for run in runs} >= {
        ("one, run 1", "Completed"),
        ("two, run 1", "Completed"),
    }
    parents = [run for run in runs if not run["deployment_id"]]
    shown = httpx.post(f"{site.server.url}/artifacts/filter", json={}).json()
    mine = [one for one in shown if one["flow_run_id"] in {run["id"] for run in parents}]
    bars = [one for one in mine if one["type"] == "progress"]
    assert [one["data"] for one in bars] == [100.0], "one for the run, which is the sum of its workers"
    assert any(f"{IMAGES}" in one["data"] and MODEL in one["data"] for one in mine if one["type"] == "markdown")


def test_a_network_that_is_cut(
    site: Site, s3_server: SickS3, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine loses its network in the middle: the other does what it left, and the report names it. When its network
    is back after the run it comes to an end by itself, and what it hands in harms nothing."""
    monkeypatch.setattr(flows._workers, "LOST_SECONDS", 20.0)
    folder = site.pictures(save_picture, IMAGES)
    with site.machine("one"), site.machine("two", network=True) as two, s3_server.slow(0.5):

        def cut() -> None:
            site.wait_for_rows("two", 240)
            two.cut()

        with meanwhile(cut):
            report = night(site)
        assert_all_embedded(report)
        assert [w for w in report.warnings if "Worker two was lost" in w and "given out again" in w]
        assert site.embedding(), "it has ended without its network"
        two.mend()
        wait_until(lambda: not site.embedding(), 240, "the worker that was cut off to end")
    after = night(site, fan_out="inline")
    late = sum(did.images for did in after.workers.values())
    assert set(after.workers) <= {"run 1"}, "somebody embeds what is stored"
    assert (after.embedded_twice, after.models[MODEL].pending) == (late, 0)
    assert site.handed_over() == []
    assert_as_inline(site, folder)


def test_pictures_at_another_mount_point(site: Site, save_picture: SavePicture, tmp_path: Path) -> None:
    """Each worker sees the pictures' folder where its `paths` say, and not where the run sees it."""
    folder = site.pictures(save_picture, IMAGES)
    places = {name: tmp_path / "mnt" / name for name in ("one", "two")}
    workers = {name: {"paths": {str(folder): str(place)}} for name, place in places.items()}
    with (
        site.machine("one", hidden=[folder], seen_as={folder: places["one"]}),
        site.machine("two", hidden=[folder], seen_as={folder: places["two"]}),
    ):
        report = night(site, folder, workers=workers)
    assert not report.warnings
    assert_all_embedded(report)
    assert set(report.workers) == {"one", "two"}
    assert_as_inline(site, folder)


def test_a_run_that_is_killed(
    site: Site, s3_server: SickS3, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers do their shares and end by themselves; the next run stores their rows, and loads no model."""
    folder = site.pictures(save_picture, IMAGES)
    with site.machine("one"), site.machine("two", network=True):
        with s3_server.slow(0.2), site.run(config=site.settings()) as run:
            site.wait_for_rows("one", 240)
            site.wait_for_rows("two", 240)
            run.send_signal(signal.SIGKILL)
            run.wait()
        wait_until(lambda: not site.embedding(), 240, "the workers to end")
    assert [name for name in site.handed_over() if "/rows-" in name]
    monkeypatch.setattr(pixelmill.run.worker, "loaded_model", None)
    report = night(site, fan_out="inline")
    assert report.models[MODEL].pending == 0
    assert 0 < report.models[MODEL].embedded < IMAGES
    assert report.models[MODEL].embedded == sum(did.images for did in report.workers.values())
    assert site.handed_over() == []
    monkeypatch.undo()
    assert_as_inline(site, folder)


def test_the_deadline(site: Site, s3_server: SickS3, save_picture: SavePicture) -> None:
    """It reaches workers that have begun, and one whose run waits in its queue until after it does nothing."""
    site.pictures(save_picture, 8)
    night(site, fan_out="inline", precision="float32")
    site.pictures(save_picture, LATER, 8)
    with site.machine("one"):
        with s3_server.slow(4.0):
            report = night(site, deadline="120s")
        assert 0 < report.models[MODEL].embedded < LATER
        assert report.models[MODEL].pending == LATER - report.models[MODEL].embedded
        assert [w for w in report.warnings if "two was lost: The deadline came before it began" in w]
        assert not [w for w in report.warnings if "one was lost" in w]
        assert "/stop HTTP" in s3_server.said()
        assert site.handed_over() == []
        wait_until(lambda: not site.embedding(), 240, "the worker to end")
        with site.machine("two"):
            time.sleep(15)
            assert not site.embedding(), "the worker begins after the deadline"
    assert site.handed_over() == []


def test_a_blind_worker(site: Site, save_picture: SavePicture) -> None:
    """A worker that does not see the pictures ends after three shards; the other does the rest, and it was a good night
    in which the report names the blind one."""
    folder = site.pictures(save_picture, IMAGES)
    config = site.settings(shard_size=2)
    with (
        site.machine("one"),
        site.machine("two", hidden=[folder]),
        site.run(str(folder), "--json", config=config) as run,
    ):
        assert run.wait(400) == 0, (site.folder / "run.log").read_text()
    report = (site.folder / "run.log").read_text()
    assert "Worker two was lost: It could read none of its 6 images" in report
    assert "What it left was given out again." in report
    assert_as_inline(site, folder)


def test_a_bucket_that_is_away_for_a_minute(site: Site, s3_server: SickS3, save_picture: SavePicture) -> None:
    """S3 answers 503 to everybody for a minute in the middle of the night: neither the run nor a worker dies, nobody is
    lost, and no picture is embedded twice."""
    folder = site.pictures(save_picture, IMAGES)

    def fall_ill() -> None:
        site.wait_for_rows("two", 240)
        with s3_server.sick():
            time.sleep(60)

    with site.machine("one"), site.machine("two", network=True), meanwhile(fall_ill):
        report = night(site, folder)
    assert not [w for w in report.warnings if "lost" in w]
    assert_all_embedded(report)
    assert sum(did.images for did in report.workers.values()) == IMAGES
    assert site.handed_over() == []
    assert_as_inline(site, folder)

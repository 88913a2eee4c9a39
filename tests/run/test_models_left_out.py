"""A model that cannot be had does not stop the others: they embed, the run reports, and fails at its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.cli.main import FAILED
from pixelmill.errors import DeviceUnavailable, ModelsLeftOut, PixelmillError, WeightsUnavailable, WorkersLost
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.report.history import recorded
from pixelmill.report.model import RunReport
from pixelmill.run import retries, schedule
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job, Worker
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.preflight import check
from pixelmill.run.share import do_here, embed_and_store
from pixelmill.run.steps import Steps, fetch_weights, run
from pixelmill.run.worker import AtWork
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.commands import code
from tests.support.models import STAND_INS, BlockMeans, share_out_by_guess, spec_of

IMAGES = 6


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run over six pictures with three models."""
    monkeypatch.setattr(retries, "pause", lambda _seconds: None)
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store",
        specs=tuple(spec_of(name, tmp_path) for name in ("one", "second", "third")),
        cache={"cache_dir": tmp_path / "cache"}, precision="float32", shard_size=3, max_pixels=10**8, max_aspect=100.0,
        max_bytes=10**8,
    )  # fmt: skip


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """What the models raise when they are loaded, by name; to be filled."""
    raised: dict[str, Exception] = {}

    def load(spec: ModelSpec, sha256: str) -> EmbeddingModel:
        if spec.name in raised:
            raise raised[spec.name]
        return BlockMeans(spec, sha256)

    monkeypatch.setattr(STAND_INS, "kind", load)
    return raised


def without_weights(job: Job, *models: str) -> Job:
    """The job with weights of some models that are nowhere."""
    nowhere = job.store.parent / "nowhere"
    specs = (spec_of(spec.name, nowhere) if spec.name in models else spec for spec in job.specs)
    return job.model_copy(update={"specs": tuple(specs)})


def fails(job: Job, steps: Steps | None = None) -> tuple[ModelsLeftOut, RunReport]:
    """The error with which a run ends, and its report."""
    with pytest.raises(ModelsLeftOut) as raised:
        run(job, steps or Steps())
    with Ledger(job.store) as ledger:
        return raised.value, recorded(ledger, 1)[0]


def assert_only_second_waits(report: RunReport) -> None:
    counts = {name: (model.embedded, model.pending) for name, model in report.models.items()}
    assert counts == {"one": (IMAGES, 0), "second": (0, IMAGES), "third": (IMAGES, 0)}


def test_weights_that_cannot_be_had_stop_no_other_model(job: Job) -> None:
    """The others embed; the error and a warning name the model, why, and what brings weights; the next run does it."""
    error, report = fails(without_weights(job, "second"))
    assert_only_second_waits(report)
    assert (report.ended, report.error) == ("failed", str(error))
    assert "second could not be had" in str(error)
    assert "`pixelmill pull second`" in str(error)
    assert "`pixelmill weights bundle`" in str(error)
    assert [warning for warning in report.warnings if warning.startswith("second was left out: Expected")]
    report = run(job)
    assert (report.models["second"].embedded, report.models["one"].embedded) == (IMAGES, 0)


@pytest.mark.parametrize(
    "error",
    [WeightsUnavailable("The server is down."), OSError(28, "No space left on device")],
    ids=repr,
)
def test_whatever_the_download_fails_with(job: Job, error: Exception) -> None:
    """A network, a disk."""

    def fetch(spec: ModelSpec, cache: Any) -> object:
        if spec.name == "second":
            raise error
        return fetch_weights(spec, cache)

    raised, report = fails(job, Steps(fetch=fetch))
    assert_only_second_waits(report)
    assert str(error.args[-1]).rstrip(".") in str(raised)


@pytest.mark.parametrize(
    "error",
    [
        DeviceUnavailable("Expected device 'cuda:7'."),
        RuntimeError("CUDA out of memory"),
        ImportError("no such package"),
    ],
    ids=repr,
)
def test_a_model_that_does_not_load_stops_no_other(job: Job, broken: dict[str, Exception], error: Exception) -> None:
    """Whatever a device, a file or a library makes of it; also where the store has a matrix of it, which stays."""
    broken["second"] = error
    raised, report = fails(job)
    assert_only_second_waits(report)
    assert str(error).rstrip(".") in str(raised)
    broken.clear()
    run(job)
    before = Store(job.store)["second"].read()
    broken["second"] = error
    (Path(job.sources[0]) / "0.png").write_bytes((Path(job.sources[0]) / "1.png").read_bytes() + b" ")
    _, report = fails(job)
    assert {name: model.pending for name, model in report.models.items()} == {"one": 0, "second": 1, "third": 0}
    np.testing.assert_array_equal(Store(job.store)["second"].read()[: len(before)], before)


def test_a_model_of_an_own_device_that_is_away(job: Job) -> None:
    """Models of other devices do their work, though this one's was asked for before the run."""
    own = job.model_copy(update={"devices": {"second": "cuda:7"}})
    check(own)
    _, report = fails(own)
    assert_only_second_waits(report)
    with pytest.raises(DeviceUnavailable, match="cuda:7"):
        check(own.model_copy(update={"specs": own.specs[1:2]}))


@pytest.mark.parametrize("models", [("one", "second", "third"), ("one",)])
def test_without_any_model_a_run_fails_as_it_did(job: Job, models: tuple[str, ...]) -> None:
    """By the first one's own error, before anything is embedded, and with a report."""
    some = without_weights(job, *models)
    some = some.model_copy(update={"specs": tuple(spec for spec in some.specs if spec.name in models)})
    with pytest.raises(PixelmillError, match=r"Expected .*nowhere") as raised:
        run(some)
    assert not isinstance(raised.value, ModelsLeftOut)
    with Ledger(job.store) as ledger:
        (report,) = recorded(ledger, 9)
    assert (report.ended, {model.pending for model in report.models.values()}) == ("failed", {IMAGES})


def test_at_the_command_line(job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the error in a line; what could be done is in the store."""
    some = without_weights(job, "second")
    monkeypatch.setattr("settings.job.make_job", lambda *_args: some)
    assert code("run", "--direct") == FAILED
    assert "second could not be had, and embedded nothing" in capsys.readouterr().err
    assert Store(job.store)["one"].embedded.all()


class Crew:
    """Two workers, one after the other, in this process; for each the models that do not load there."""

    def __init__(self, **cannot: str) -> None:
        self.cannot = cannot
        self.shares: list[dict[str, set[str]]] = []

    def __call__(self, orders: RunOrders, intake: Intake) -> Lost:
        self.shares.append({})
        for worker in orders.workers:
            models = {model for share in orders.shares.get(worker, {}).values() for model in share}
            self.shares[-1][worker] = models
            work = AtWork(orders, worker)
            work.job = without_weights(work.job, *self.cannot.get(worker, "").split())
            for asked in orders.settling.get(worker, ()):
                intake.take_settled(work.settled(asked), worker)
            for shard, fingerprints in orders.of(worker):
                embed_and_store(work, intake.order(shard, fingerprints), intake)
        return {}


@pytest.fixture
def shared(job: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
    share_out_by_guess(monkeypatch)
    workers = (Worker(name="left", device="cpu"), Worker(name="right", device="cpu"))
    return job.model_copy(update={"fan_out": "workers", "workers": workers})


@pytest.mark.parametrize("is_new", [True, False], ids=["new matrices", "filled ones"])
def test_a_model_that_loads_on_no_worker_stops_no_other(shared: Job, job: Job, is_new: bool) -> None:
    """Each of two was asked, and what they make of the others is stored."""
    if not is_new:
        run(job.model_copy(update={"sources": (f"{job.sources[0]}/0.png",)}))
    crew = Crew(left="second", right="second")
    _, report = fails(shared, Steps(embed=crew))
    assert {name: model.pending for name, model in report.models.items()} == {
        "one": 0, "second": IMAGES - (not is_new), "third": 0,
    }  # fmt: skip
    assert [warning for warning in report.warnings if "second was left out: Expected" in warning]


@pytest.mark.parametrize("is_new", [True, False], ids=["new matrices", "filled ones"])
def test_what_one_worker_cannot_load_another_does(shared: Job, job: Job, is_new: bool) -> None:
    """The run is whole; it says who could not load what."""
    if not is_new:
        run(job.model_copy(update={"sources": (f"{job.sources[0]}/0.png",)}))
    crew = Crew(left="one second third")
    report = run(shared, Steps(embed=crew))
    assert {model.pending for model in report.models.values()} == {0}
    assert report.ended == "done"
    assert [warning for warning in report.warnings if warning.startswith("Worker left could not load one")]


def test_a_model_that_no_device_holds_stops_no_other(shared: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as memory is known; if none holds any, nothing is done."""
    need: Callable[[ModelSpec], int] = lambda spec: 2**40 if spec.name == "second" else 2**20  # noqa: E731
    monkeypatch.setattr(schedule, "memory_needed", need)
    small = shared.model_copy(
        update={"workers": tuple(worker.model_copy(update={"memory_gb": 8.0}) for worker in shared.workers)}
    )
    error, report = fails(small, Steps(embed=Crew()))
    assert_only_second_waits(report)
    assert "Expected a worker whose device holds second" in str(error)
    alone = small.model_copy(update={"specs": small.specs[1:2]})
    with pytest.raises(DeviceUnavailable, match="holds second"):
        run(alone, Steps(embed=Crew()))


def test_on_a_cluster(job: Job) -> None:
    """Its processes are alike: what did not load is left out, whether its matrix is to be settled or there is one."""
    cluster = job.model_copy(update={"fan_out": "dask"})
    _, report = fails(cluster, Steps(embed=Crew(dask="second")))
    assert_only_second_waits(report)
    with pytest.raises(ModelsLeftOut):
        run(cluster, Steps(embed=Crew(dask="second")))


def test_workers_that_are_lost_are_told_first(job: Job, shared: Job) -> None:
    """A model that is left out hides no worker that was lost."""
    run(job.model_copy(update={"sources": (f"{job.sources[0]}/0.png",)}))

    def one_dies(orders: RunOrders, intake: Intake) -> Lost:
        Crew(left="second", right="second")(orders, intake)
        return dict.fromkeys(orders.workers, "Crashed.")

    (Path(job.sources[0]) / "late.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises((WorkersLost, ModelsLeftOut), match="second"):
        run(shared, Steps(embed=one_dies))


def test_do_here_is_what_the_crew_is_measured_by(job: Job) -> None:
    """In one process the same models leave nothing."""
    run(job, Steps(embed=lambda orders, intake: do_here(orders, intake) or {}))
    assert all(Store(job.store)[spec.name].embedded.all() for spec in job.specs)

"""A signal ends a run as its deadline does, and soon: what is embedded is stored and told of before it has its way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pixelmill.run import cluster, remote
from pixelmill.run.direct import here
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.watch import stopping
from pixelmill.watch.clocks import past
from pixelmill.watch.stopping import asked, granted, heeded, is_late, is_over
from tests.conftest import SavePicture
from tests.support.cluster_here import ClusterHere
from tests.support.models import STAND_INS, BlockMeans, spec_of

IMAGES = 24


class Interrupted(KeyboardInterrupt):
    """What a signal does outside."""


@pytest.fixture(autouse=True)
def terminated() -> Iterator[None]:
    """SIGTERM is an exception here, as it is for a command and for a flow."""

    def end(_number: int, _frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)
    stopping.forget()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_waits_until_the_block_is_done() -> None:
    """Meanwhile it counts as a deadline that is over; outside nothing has changed."""
    seen = [past(None)]

    def work() -> None:
        with heeded():
            terminate()
            seen.extend([past(None), past(time.time() + 1000)])

    with pytest.raises(Interrupted):
        work()
    assert seen == [False, True, True]
    assert not asked()
    with pytest.raises(Interrupted):
        terminate()


def test_a_second_signal_has_its_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it comes with the first, as `timeout` sends them."""
    seen: list[str] = []

    def work() -> None:
        with heeded():
            terminate()
            terminate()
            seen.append("goes on")
            monkeypatch.setattr(stopping, "_PATIENCE", 0.0)
            terminate()
            seen.append("goes on again")

    with pytest.raises(Interrupted):
        work()
    assert seen == ["goes on"]


def test_what_is_ignored_stays_ignored() -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with heeded():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_time_is_kept_for_storing_and_telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the half minute that a run has: after a while nothing is begun, later nothing waited for; what it took is
    granted to the command that ends then."""
    now = 100.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    assert not is_late()
    stopping.ask()
    now += 9
    stopping.ask()
    assert not is_late()
    now += 2
    assert (is_late(), is_over()) == (True, False)
    now += 10
    assert is_over()
    stopping.forget()
    assert (asked(), is_late(), granted()) == (False, False, 21.0)


class StopsInTheMiddle(BlockMeans):
    """Has the process stopped, as an operator would, when it has embedded some pictures."""

    after = 0

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        done = super().encode_image(pixels)
        if self.after and BlockMeans.seen > self.after:
            StopsInTheMiddle.after = 0
            self.stop()
        return done

    def stop(self) -> None:
        terminate()


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(STAND_INS, "kind", StopsInTheMiddle)
    monkeypatch.setattr(BlockMeans, "seen", 0)
    monkeypatch.setattr(StopsInTheMiddle, "after", 12)
    monkeypatch.setattr(cluster, "_connected", ClusterHere)
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / f"{seed:02}.png", seed)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        cluster_size=1, max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def embedded(job: Job) -> int:
    assert verify(job.store) == []
    return int(Store(job.store)["one"].embedded.sum())


def test_a_run_that_is_stopped_keeps_what_it_has_done(job: Job) -> None:
    """Of a shard that is not done: it is stored, served and told of, and the next run embeds only the rest. With a Dask
    cluster: cli/test_stopped.py."""
    with pytest.raises(Interrupted):
        run(job, here())
    done = embedded(job)
    assert 8 < done < IMAGES
    assert Store(job.store).models == ["one"]
    with Ledger(job.store) as ledger:
        (kept,) = ledger.runs.last()
    assert (kept["ended"], kept["models"]["one"]["embedded"] > 0) == ("cancelled", True)
    report = run(job, here())
    assert (report.models["one"].embedded, report.models["one"].pending) == (IMAGES - done, 0)
    assert report.embedded_twice == 0


def test_what_takes_too_long_is_left(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further batch is begun when half of the time is over, though pictures wait that have been read; nobody says
    that something hangs."""
    monkeypatch.setattr(stopping, "LATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(job, here())
    assert embedded(job) <= 16
    with Ledger(job.store) as ledger:
        (kept,) = ledger.runs.last()
    assert not kept["hung"]


def test_a_process_of_a_cluster_is_told(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends what it does for the run that is to stop, and no other's."""
    session = type("Session", (), {"run": ("store", 7)})()
    monkeypatch.setattr(remote, "_session", session)
    monkeypatch.setattr(remote, "_stopped", None)
    remote.stop(("store", 6))
    assert not asked()
    remote.stop(("store", 7))
    assert asked()

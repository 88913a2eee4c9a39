"""A shard that takes long is stored piece by piece: nothing is lost, embedded or counted twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pixelmill.errors import StoreBusy
from pixelmill.report.model import RunReport
from pixelmill.run import cluster, direct
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.direct import here
from pixelmill.run.handoff import place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.options import RunOptions
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.piece import TimedFiles
from pixelmill.run.share import do_share
from pixelmill.run.steps import run
from pixelmill.run.worker import AtWork
from pixelmill.sources.found import FoundFile
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.travel.shard_order import ShardOrder
from tests.conftest import SavePicture
from tests.support.cluster_here import ClusterHere
from tests.support.models import share_out_by_guess, spec_of

FILES = tuple(FoundFile("/photos", f"{n}.png", 1, 1, 1) for n in range(10))
IMAGES = 26


def taken(seconds: float, least: int) -> TimedFiles:
    """After all were asked for that there was time for, by a clock that goes on by a second a file."""
    clock = iter(range(1000))
    files = TimedFiles(FILES, seconds, least=least, clock=lambda: float(next(clock)))
    assert list(files.files()) == list(FILES[: files.taken])
    assert list(files.files()) == list(FILES[: files.taken]), "who comes after gets the same"
    return files


def test_files_are_taken_while_there_is_time() -> None:
    """A few at least, so that what is slow goes on too; none is left where all fit."""
    assert (taken(1000.0, 1).taken, taken(1000.0, 1).is_all) == (10, True)
    assert (taken(0.0, 3).taken, taken(0.0, 3).is_all) == (3, False)
    assert taken(4.0, 2).taken == 5
    assert TimedFiles(FILES, 0.0, least=1).is_all, "where no file could be begun a further piece would not either"


def test_what_is_left_of_an_order() -> None:
    """The other files; and a copy of what was made lacks that no more. It travels."""
    listed = {b"a" * 32: frozenset({"one", "two"}), b"b" * 32: frozenset({"one"})}
    order = ShardOrder("store", 7, 3, ("one", "two"), FILES, listed)
    rest = order.after(4, [(b"a" * 32, "one"), (b"c" * 32, "two")])
    assert (rest.number, rest.piece, rest.files) == (3, 1, FILES[4:])
    assert rest.lacking(b"a" * 32) == {"two"}
    assert rest.lacking(b"b" * 32) == {"one"}
    assert rest.lacking(b"c" * 32) == {"one"}
    assert ShardOrder.of(rest.message()) == rest


@pytest.mark.parametrize("span", ["2", "06:00", "m", "-1m", "2 m"])
def test_a_span_is_needed(span: str) -> None:
    """Not a time, nor a number alone."""
    with pytest.raises(ValidationError):
        RunOptions(commit_every=span)
    assert RunOptions(commit_every="1.5m").commit_seconds == 90


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Of 26 files in one shard: copies of the first and of a refused one come last."""
    monkeypatch.setattr(cluster, "_connected", ClusterHere)
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", ())
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES - 3):
        save_picture(tmp_path / "photos" / f"{seed}.png", seed)
    for name, like in {"9copy.png": b"0.png", "5none.png": b"", "9none.png": b""}.items():
        content = (tmp_path / "photos" / like.decode()).read_bytes() if like else b"no image at all"
        (tmp_path / "photos" / name).write_bytes(content)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store",
        specs=(spec_of("one", tmp_path), spec_of("two", tmp_path)),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", shard_size=100, batch_size=2,
        threads=1, max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def by_a_worker(orders: RunOrders, intake: Intake) -> Lost:
    """Have one worker elsewhere do it all, and take in what it has handed over when it is done."""
    place, whole = place_of(orders.job, orders.store_id, orders.scan)
    place.give(orders, intake)
    do_share(whole, orders.workers[0])
    place.close(intake)
    place.clear()
    return {}


def done_by(job: Job, fan_out: str, commit_every: str) -> RunReport:
    """The report of a run in a store of its own, which is sound."""
    workers = (Worker(name="gpu0", device="cpu"),) if fan_out == "workers" else ()
    store = job.store.with_name(f"{fan_out}-{commit_every}")
    job = job.model_copy(
        update={"fan_out": fan_out, "workers": workers, "store": store, "commit_every": commit_every, "cluster_size": 1}
    )
    report = run(job, replace(here(), embed=by_a_worker) if workers else here())
    assert verify(store) == []
    return report


@pytest.mark.parametrize("fan_out", ["inline", pytest.param("dask", marks=pytest.mark.slow), "workers"])
def test_pieces_come_to_the_same_as_one(fan_out: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does them: in the store, and in what the report counts."""
    share_out_by_guess(monkeypatch)
    taken: list[tuple[int, bool]] = []
    take = Intake.take

    def counting(intake: Intake, answer: ShardAnswer) -> None:
        taken.append((answer.piece, answer.report.has_more))
        take(intake, answer)

    whole = done_by(job, "inline", "2m")
    monkeypatch.setattr(Intake, "take", counting)
    report = done_by(job, fan_out, "0s")
    assert [piece for piece, _ in taken] == list(range(len(taken)))
    assert len(taken) >= 3
    assert [more for _, more in taken] == [True] * (len(taken) - 1) + [False]
    assert (report.images, report.failures) == (whole.images, whole.failures)
    assert report.embedded_twice == 0
    for model, did in report.models.items():
        expected = whole.models[model]
        assert (did.embedded, did.pending, did.quarantined) == (
            expected.embedded,
            expected.pending,
            expected.quarantined,
        )
    one, other = Store(Path(report.store)), Store(Path(whole.store))
    assert list(one.paths) == list(other.paths)
    np.testing.assert_array_equal(one["one"].read(), other["one"].read())


def test_a_piece_that_is_stored_is_not_done_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails after its work is tried again: it goes on with what follows."""
    monkeypatch.setattr("pixelmill.run.retries.pause", lambda _seconds: None)
    real, failures = direct.embed_and_store, [StoreBusy("once"), StoreBusy("twice")]

    def fails(work: AtWork, order: ShardOrder, intake: Intake) -> ShardOrder | None:
        left = real(work, order, intake)
        if failures:
            raise failures.pop()
        return left

    monkeypatch.setattr(direct, "embed_and_store", fails)
    report = done_by(job, "inline", "0s")
    assert not failures
    assert (report.models["one"].embedded, report.embedded_twice) == (IMAGES - 3, 0)

"""What the workers of a dead run have handed over is stored by the next run, and nobody makes it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pixelmill.run.answer import ShardAnswer
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.prepare import prepare
from pixelmill.run.scan import scan_sources
from pixelmill.run.steps import run
from pixelmill.run.worker import AtWork
from pixelmill.store import living
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from pixelmill.store.rows import Vectors
from pixelmill.store.verify import verify
from pixelmill.travel import messages
from tests.support.models import BlockMeans, spec_of
from tests.support.numbered import OTHERS, content
from tests.support.shards import orders_for

DEAD = 2
"""The number of the run that died."""


@dataclass(frozen=True)
class Left:
    """A store of three pictures, and what a worker of a dead run has made of two more."""

    job: Job
    answer: ShardAnswer

    def put(self, data: bytes) -> Path:
        """Leave a message at the hand-over place, as a worker of the dead run does."""
        store_id = Store(self.job.store).manifest.store_id
        folder = self.job.store / "runs" / store_id / str(DEAD)
        folder.mkdir(parents=True)
        for name in ("orders", "shard-0", "gpu0.alive"):
            (folder / name).write_bytes(b"whatever")
        (folder / "rows-0-gpu0").write_bytes(data)
        return folder


@pytest.fixture
def left(tmp_path: Path) -> Left:
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    job = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
    )  # fmt: skip
    for number in OTHERS[:3]:
        (tmp_path / "photos" / f"{number}.png").write_bytes(content(number))
    run(job)
    for number in OTHERS[3:5]:
        (tmp_path / "photos" / f"{number}.png").write_bytes(content(number))
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, job.sources).number
        assert scan == DEAD
        prepared = prepare(job, writer, scan)
        orders = orders_for(job, writer, prepared.matrices, scan, prepared.plan.shards, "gpu0")
        ((shard, fingerprints),) = orders.of("gpu0")
        return Left(job, AtWork(orders, "gpu0").embed(Intake(writer, orders).order(shard, fingerprints)))


def test_what_a_dead_run_left_is_stored_and_made_by_nobody(left: Left) -> None:
    """No picture is embedded, or read; the report counts what was taken in, and whose it was. The place is clean."""
    folder = left.put(left.answer.message())
    before = BlockMeans.seen
    report = run(left.job)
    assert BlockMeans.seen == before
    assert (report.models["one"].embedded, report.models["one"].pending) == (2, 0)
    assert report.workers[f"run {DEAD}"].images == 2
    assert not folder.parent.exists()
    assert Store(left.job.store)["one"].embedded.all()
    assert verify(left.job.store) == []


def test_what_a_living_run_has_is_left_alone(left: Left) -> None:
    """Its own run takes it in: a second run beside it neither stores nor removes it."""
    folder = left.put(left.answer.message())
    names = sorted(path.name for path in folder.iterdir())
    with living.holding(left.job.store, DEAD):
        report = run(left.job)
    assert f"run {DEAD}" not in report.workers
    assert report.models["one"].embedded == 2
    assert sorted(path.name for path in folder.iterdir()) == names
    again = run(left.job)
    assert again.models["one"].pending == 0
    assert again.embedded_twice == 2
    assert not folder.exists()
    assert len(Store(left.job.store)) == 5


def changed(change: Callable[[ShardAnswer], ShardAnswer]) -> Callable[[Left], bytes]:
    return lambda left: change(left.answer).message()


def not_finite(answer: ShardAnswer) -> ShardAnswer:
    ((fingerprint, made),) = answer.rows.vectors.items()
    rows = replace(answer.rows, vectors={fingerprint: Vectors(made.index, made.values * np.float32(np.nan))})
    return replace(answer, rows=rows)


def of_another_matrix(answer: ShardAnswer) -> ShardAnswer:
    return replace(answer, rows=replace(answer.rows, vectors={"f" * 64: next(iter(answer.rows.vectors.values()))}))


def made_too_early(answer: ShardAnswer) -> ShardAnswer:
    return replace(answer, unmeasured=tuple(answer.rows.vectors))


def older(left: Left) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "VERSION", "0.0.1")
        return left.answer.message()


WRONG: dict[str, tuple[Callable[[Left], bytes], str]] = {
    "cut off": (lambda left: left.answer.message()[:-1], "damaged or cut off"),
    "empty": (lambda left: b"", "begins otherwise"),
    "damaged": (lambda left: left.answer.message()[:-9] + b"!" + left.answer.message()[-8:], "damaged or cut off"),
    "of an older version": (older, "Version '0.0.1' wrote it"),
    "of another store": (changed(lambda answer: replace(answer, store_id="other")), "of store 'other'"),
    "not finite": (changed(not_finite), "not finite"),
    "of a matrix that is not there": (changed(of_another_matrix), "not asked for"),
    "made when there was nothing to compare with": (changed(made_too_early), "It began too early"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_used_is_told_and_made_again(wrong: str, left: Left) -> None:
    """Nothing of it is stored; the report names it, and the same night embeds the pictures as if it were not there."""
    make, why = WRONG[wrong]
    folder = left.put(make(left))
    report = run(left.job)
    (told,) = (warning for warning in report.warnings if "was not stored" in warning)
    assert "rows-0-gpu0" in told
    assert why in told
    assert f"run {DEAD}" not in report.workers
    assert (report.models["one"].embedded, report.models["one"].pending) == (2, 0)
    assert np.isfinite(Store(left.job.store)["one"].read()).all()
    assert not folder.exists()
    assert verify(left.job.store) == []

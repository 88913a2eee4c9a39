"""What is left to do, and in which order it is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pixelmill.plan import cut
from pixelmill.run.job import Job
from pixelmill.run.steps import run
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from tests.support.models import BlockMeans, spec_of

NAMES = [f"{chr(97 + i)}.png" for i in range(20)]


@pytest.fixture
def job(tmp_path: Path, save_picture) -> Job:  # type: ignore[no-untyped-def]
    """Twenty pictures, whose times of modification are in no order of their names."""
    (tmp_path / "weights").write_bytes(b"weights")
    for i, name in enumerate(NAMES):
        save_picture(tmp_path / "photos" / name, i)
        os.utime(tmp_path / "photos" / name, ns=(age(i), age(i)))
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache={"cache_dir": tmp_path / "cache"}, precision="float32", max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
        batch_size=2, threads=1, shard_size=6,
    )  # fmt: skip


def age(number: int) -> int:
    """The time of modification of a picture, in ns: a few of them share one."""
    return 10**18 + (number * 7 % 20) // 2 * 10**9


NEWEST_FIRST = sorted(NAMES, key=lambda name: (-age(NAMES.index(name)), name))


def embedded(job: Job) -> list[str]:
    """The embedded images, in the order in which they got their rows."""
    store = Store(job.store)
    return [os.fsdecode(path) for path, done in zip(store.paths, store["one"].embedded, strict=True) if done]


def test_without_a_deadline_rows_are_in_path_order(job: Job) -> None:
    """A run that may take its time goes through the folders as they lie."""
    run(job)
    assert embedded(job) == NAMES


def test_with_a_deadline_the_newest_come_first(job: Job) -> None:
    """A run that may not come to the end begins with the newest images, by time and then by path."""
    run(job.model_copy(update={"deadline": 1e12}))
    assert embedded(job) == NEWEST_FIRST


def test_a_deadline_in_the_middle_leaves_the_oldest(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """When time is up the batch at hand is finished and committed; what is left are the oldest images, as pending; the
    next night does them and no other."""
    over = []

    def encode(self: BlockMeans, pixels: torch.Tensor) -> torch.Tensor:
        over.append(True)
        return real(self, pixels)

    real = BlockMeans.encode_image
    monkeypatch.setattr(BlockMeans, "encode_image", encode)
    monkeypatch.setattr("pixelmill.run.worker.past", lambda deadline: deadline is not None and len(over) >= 4)
    report = run(job.model_copy(update={"deadline": 1e12}))
    done = embedded(job)
    assert 8 <= len(done) < 20
    assert done == NEWEST_FIRST[: len(done)]
    assert report.models["one"].pending == 20 - len(done)
    before = BlockMeans.seen
    report = run(job)
    model = report.models["one"]
    assert (model.embedded, model.pending) == (20 - len(done), 0)
    assert BlockMeans.seen - before == 20 - len(done) + report.self_check["one"].compared
    assert sorted(embedded(job)) == NAMES


@pytest.mark.parametrize(
    ("images", "workers", "most"), [(1_000_000, 1, 250), (1_000_000, 8, 250), (100, 4, 16), (1, 8, 1)]
)
def test_a_million_images_are_a_few_hundred_tasks(images: int, workers: int, most: int) -> None:
    """A shard is a task of Prefect: a few hundred for a million images, with the default size; few images are still
    enough for all workers; together the shards are all images, once."""
    shards = cut(images, 4096, workers)
    assert len(shards) <= most
    assert len(shards) >= min(workers, images)
    assert [(shard.number, shard.first) for shard in shards] == [
        (i, sum(s.images for s in shards[:i])) for i in range(len(shards))
    ]
    assert sum(shard.images for shard in shards) == images


def test_the_list_of_what_is_to_do_goes_with_the_run(job: Job) -> None:
    """Nothing of a finished run's plan stays in the ledger; a ledger from before there were plans gets the table."""
    run(job)
    with Ledger(job.store) as ledger:
        assert ledger.database.number("SELECT count(*) FROM work") == 0
        ledger.database.write("DROP TABLE work")
    with Ledger(job.store) as ledger:
        assert list(ledger.worklist.planned(1, 0, 10)) == []

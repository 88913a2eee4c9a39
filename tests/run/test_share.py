"""A worker's share: what it does of it, and when it does nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.plan import Shard
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.handoff import place_at
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.orders import RunOrders
from pixelmill.run.results import ShardReport
from pixelmill.run.share import do_share
from pixelmill.run.worker import AtWork
from pixelmill.store.rows import ShardRows
from pixelmill.travel.handover import handover_at
from pixelmill.travel.shard_order import ShardOrder


@pytest.mark.parametrize(("waited", "done"), [(0.0, [0, 1]), (3000.0, [0, 1]), (4000.0, [])])
def test_who_waited_in_its_queue_until_after_the_deadline_does_nothing(
    waited: float, done: list[int], tmp_path: Path
) -> None:
    """An hour is left when the orders are given. A worker whose turn comes later than that embeds nothing, though the run
    that gave them is dead and tells it nothing."""
    job = Job(
        sources=("photos",), store=tmp_path / "store", specs=(), cache=CacheSpec(cache_dir=tmp_path), fan_out="workers",
        device="cpu", deadline=time.time() + 3600, workers=(Worker(name="one", device="cpu"),),
    )  # fmt: skip
    shards = (Shard(0, 0, 1), Shard(1, 1, 1))
    place = handover_at(str(tmp_path / "place"))
    for shard in shards:
        place.put(f"shard-{shard.number}", ShardOrder("store", 1, shard.number, (), ()).message())
    place.put("orders", RunOrders(job, "store", 1, shards=shards, shares={"one": {0: (), 1: ()}}).message())
    embedded: list[int] = []

    def embed(_work: AtWork, order: ShardOrder) -> ShardAnswer:
        embedded.append(order.number)
        return ShardAnswer("store", 1, order.number, ShardRows(), ShardReport("one", read=1))

    do_share(str(tmp_path / "place"), "one", embed=embed, waited=waited)
    assert embedded == done
    assert [n for n in place_at(str(tmp_path / "place")).names() if n.startswith("rows-")] == [
        f"rows-{n}-one" for n in done
    ]


def test_a_worker_that_sees_another_place_names_it(tmp_path: Path) -> None:
    """Where a disk is not mounted there are no orders: who reads the error has to know where they were looked for."""
    place = f"{tmp_path}/meet/store/7"
    with pytest.raises(StoreError, match=f"at {place}. There are none: the run is over, or this machine does not see"):
        do_share(place, "attic")

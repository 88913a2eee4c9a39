"""Who is given up, and why: decisions about what a run sees, without Prefect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pixelmill.run.lost import (
    Life,
    Queue,
    WorkerRun,
    judge,
    needs_somebody,
    who_did_less,
    who_is_left_out,
    why_cluster_lost,
    why_worker_lost,
)
from pixelmill.run.results import ShardReport
from pixelmill.watch.calls import COMPUTING_SECONDS
from pixelmill.watch.hangs import Hang

AT_WORK = Life(since=1000.0, silent=1.0, still=1.0, overdue=None, doing="embed one with 32 images")


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({}, ""),
        ({"silent": 61.0}, "No sign of life"),
        ({"silent": None, "since": 200.0}, ""),
        ({"silent": None, "since": 241.0}, "No sign of life"),
        ({"silent": None, "since": 61.0, "overdue": 61.0}, "No sign of life"),
        ({"still": 600.0}, ""),
        ({"still": 1.3 * COMPUTING_SECONDS}, "has not gone forward for 2340 s. It was at: embed one"),
        ({"still": 61.0, "overdue": 10.0}, ""),
        ({"still": 61.0, "overdue": 61.0}, "has not gone forward for 61 s"),
        ({"still": 1.0, "overdue": 4000.0}, ""),
    ],
)
def test_a_worker_is_given_up_when_nothing_goes_forward(seen: dict[str, float], why: str) -> None:
    """A sign of life means progress: one that lives and hangs is given up, after the deadline soon; one that goes forward
    never is."""
    found = why_worker_lost(replace(AT_WORK, **seen), lost_seconds=60.0, starting_seconds=180.0)
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({}, ""),
        ({"silent": None, "since": 299.0}, ""),
        ({"silent": None, "since": 301.0}, "For 301 s no process of the cluster has worked"),
        ({"silent": None, "since": 5.0, "overdue": 0.0}, "no process of the cluster had taken up a shard"),
        ({"silent": 301.0}, "Has it workers"),
        ({"still": 61.0, "overdue": 61.0}, "has not gone forward"),
    ],
)
def test_a_cluster_that_does_nothing_is_given_up(seen: dict[str, float], why: str) -> None:
    """A cluster without workers ends no later than the deadline, or after worker_start_seconds, with words."""
    found = why_cluster_lost(replace(AT_WORK, **seen), lost_seconds=60.0, start_seconds=300.0)
    assert why in found
    assert bool(why) == bool(found)


def test_who_reads_nothing_gets_no_more() -> None:
    """A process of a cluster that could read none of its images is named, and not its neighbours; so is one that hangs."""
    done = [
        ShardReport(worker="dask", place="process 1 on a", read=4),
        ShardReport(worker="dask", place="process 2 on b", unread=("/photos/1.png: No such file",)),
        ShardReport(worker="dask", place="process 2 on b", unread=("/photos/2.png: No such file",)),
        ShardReport(worker="dask", place="process 3 on a", read=3, hung=(Hang("embed", "one", seconds=60.0),)),
        ShardReport(worker="dask", place="process 4 on a", read=3, unread=("/photos/3.png: Input/output error",)),
    ]
    left = who_is_left_out(done)
    assert left.keys() == {"dask, process 2 on b", "dask, process 3 on a"}
    assert "none of its 2 images: /photos/1.png" in left["dask, process 2 on b"]
    assert "one: stage 'embed' had no answer for 60 s" in left["dask, process 3 on a"]


@pytest.mark.parametrize(
    ("why", "fails"),
    [
        ("The deadline came before it began.", False),
        ("Crashed: Process exited with status code: -9.", False),
        ("DeviceUnavailable: Expected device cuda:7.", True),
        (why_cluster_lost(replace(AT_WORK, silent=None, overdue=1.0), lost_seconds=60.0, start_seconds=300.0), True),
        (why_worker_lost(replace(AT_WORK, still=90.0, overdue=90.0), lost_seconds=60.0, starting_seconds=180.0), True),
    ],
)
def test_a_run_whose_deadline_came_fails_where_somebody_is_needed(why: str, fails: bool) -> None:
    """Work that is left for the next night is no failure; a cluster without workers or one that hangs is."""
    assert needs_somebody({"one": why}) is fails


HELD_UP = Queue("gpu", "gpu0", unpolled=1.0)


@pytest.mark.parametrize(
    ("run", "late", "is_over", "end_as", "why"),
    [
        (WorkerRun("done", 1.0), False, True, None, ""),
        (WorkerRun("failed", 1.0, words="Crashed: exit code -9."), False, True, None, "Crashed: exit code -9."),
        (WorkerRun("other", 9e9), True, False, None, ""),
        (WorkerRun("running", 9e9, life=AT_WORK), True, False, None, ""),
        (WorkerRun("running", 9e9, life=replace(AT_WORK, silent=61.0)), False, True, "crashed", "No sign of life"),
        (WorkerRun("waiting", 9e9, queue=HELD_UP), False, False, None, ""),
        (WorkerRun("waiting", 1.0, queue=HELD_UP), True, True, "cancelled", "The deadline came before it began."),
        (WorkerRun("waiting", 299.0, queue=replace(HELD_UP, unpolled=None)), False, False, None, ""),
        (WorkerRun("waiting", 301.0, queue=replace(HELD_UP, unpolled=None)), False, True, "cancelled", "--pool gpu"),
        (WorkerRun("waiting", 301.0, queue=replace(HELD_UP, unpolled=61.0)), False, True, "cancelled", "polls queue"),
        (WorkerRun("waiting", 301.0, queue=replace(HELD_UP, is_paused=True)), False, True, "cancelled", "is paused"),
        (WorkerRun("waiting", 301.0, queue=replace(HELD_UP, pool_is_paused=True)), False, True, "cancelled", "resume gpu."),
        (WorkerRun("taken", 299.0), False, False, None, ""),
        (WorkerRun("taken", 301.0), False, True, "crashed", "did not start it in 301 s"),
        (WorkerRun("taken", 1.0), True, True, "cancelled", "The deadline came"),
    ],
)  # fmt: skip
def test_what_to_do_about_a_workers_run(
    run: WorkerRun, late: bool, is_over: bool, end_as: str | None, why: str
) -> None:
    """What has ended is over; one that nobody takes, or that its Prefect worker does not start, is ended with words; one
    that waits for its turn waits until the deadline."""
    found = judge(run, start_seconds=300.0, is_past_deadline=late, lost_seconds=60.0, starting_seconds=180.0)
    assert (found.is_over, found.end_as) == (is_over, end_as)
    assert why in found.why
    assert bool(why) == bool(found.why)


def test_who_says_to_be_done_tells_of_all_shards() -> None:
    """One report a shard: who has told of fewer has not done all."""
    told = [ShardReport(worker="one"), ShardReport(worker="two"), ShardReport(worker="one")]
    assert who_did_less({"one": 2, "two": 2, "three": 0}, told) == {
        "two": "It said that it was done, and has told of 1 of its 2 shards."
    }

"""A task of a run is tried again like the step that it wraps."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import Task

from pixelmill.errors import StoreBusy, StoreDamaged
from pixelmill.run.retries import DOWNLOAD, SHARD, STORE, Retries
from tasks._retries import may_pass
from tasks.discover import discover_images
from tasks.embed import embed_for_others, embed_shard
from tasks.heads import fill_heads
from tasks.plan import plan_work
from tasks.publish import publish_changes
from tasks.report import report_run
from tasks.weights import fetch_weights

TASKS: list[tuple[Task[Any, Any], Retries]] = [
    (discover_images, STORE), (fetch_weights, DOWNLOAD), (plan_work, STORE), (embed_shard, SHARD),
    (embed_for_others, SHARD), (publish_changes, STORE), (fill_heads, STORE), (report_run, STORE),
]  # fmt: skip


class Failed:
    """A state that raises what the task raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> None:
        raise self.error


def test_prefect_is_told_what_may_pass() -> None:
    """By the library's own word."""
    assert may_pass(None, None, Failed(StoreBusy("a backup keeps the ledger locked")))
    assert not may_pass(None, None, Failed(StoreDamaged("a part is missing")))


@pytest.mark.parametrize(("task", "policy"), TASKS, ids=[task.name for task, _ in TASKS])
def test_a_task_is_tried_again_as_the_library_says(task: Task[Any, Any], policy: Retries) -> None:
    """As often, after the same pauses, scattered as much, on the same condition."""
    assert task.retries == len(policy.pauses)
    assert task.retry_delay_seconds == list(policy.pauses)
    assert (task.retry_jitter_factor or 0.0) == policy.scatter
    assert task.retry_condition_fn is may_pass

"""What may pass is tried again, with growing pauses; what will not is told at once."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import Task

from pixelmill.errors import DeviceUnavailable, StoreBusy, StoreDamaged, WeightsRefused, WeightsUnavailable
from tasks._retries import may_pass
from tasks.embed import embed_ordered, embed_shard
from tasks.weights import fetch_weights


class Failed:
    """A state that raises what the task raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (WeightsUnavailable("the server is busy"), True),
        (OSError(5, "Input/output error"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (MemoryError(), True),
        (StoreBusy("a backup keeps the ledger locked"), True),
        (WeightsRefused("another sha256"), False),
        (StoreDamaged("a part is missing"), False),
        (DeviceUnavailable("no GPU"), False),
    ],
)
def test_what_may_pass(error: Exception, again: bool) -> None:
    """Errors of network, disk, memory and drivers may pass; those that Pixelmill calls lasting do not."""
    assert may_pass(None, None, Failed(error)) is again


@pytest.mark.parametrize("task", [embed_shard, embed_ordered, fetch_weights], ids=lambda task: task.name)
def test_pauses_grow_and_scatter(task: Task[Any, Any]) -> None:
    """Each task that works with disk, network or device waits longer each time, with jitter, and asks whether it helps."""
    pauses = task.retry_delay_seconds
    assert isinstance(pauses, list)
    assert len(pauses) == task.retries >= 3
    assert pauses == sorted(set(pauses))
    assert task.retry_jitter_factor
    assert task.retry_condition_fn is may_pass

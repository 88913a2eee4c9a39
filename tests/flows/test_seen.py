"""What a run makes of the states in which Prefect says that its workers' runs are."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling, Completed, Crashed, Paused, Pending, Running

from flows._workers import _seen
from pixelmill.run.handoff import RunPlace
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.lost import judge
from pixelmill.travel.handover import handover_at


@pytest.mark.parametrize(
    ("state", "is_over", "words"),
    [
        (Running(), True, "No sign of life"),
        (Cancelling(), True, "No sign of life"),
        (Paused(), True, "No sign of life"),
        (Pending(), False, ""),
        (Completed(), True, ""),
        (Crashed(message="It died."), True, "It died."),
    ],
)
def test_who_says_nothing_is_lost_whatever_its_state(
    state: State[Any], is_over: bool, words: str, tmp_path: Path
) -> None:
    """A run that is about to be cancelled, by a Prefect worker that is gone, would be waited for for ever."""
    worker = Worker(name="one")
    job = Job(
        sources=("photos",), store=tmp_path, specs=(), cache=CacheSpec(cache_dir=tmp_path), fan_out="workers", workers=(worker,)
    )  # fmt: skip
    run = FlowRun(flow_id=uuid.uuid4(), state=state)
    client: Any = None  # is asked for queues alone
    seen = _seen(client, run, worker, RunPlace(handover_at(str(tmp_path)), "store/1"), job)
    verdict = judge(seen, start_seconds=60.0, is_past_deadline=False, lost_seconds=60.0, starting_seconds=-61.0)
    assert verdict.is_over == is_over
    assert words in verdict.why

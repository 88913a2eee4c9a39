"""Workers that meet their run at a hand-over place, each a process of its own: `python -m tests.remote.placed PLACE WORKER`
is a worker; `python -m tests.remote.placed` with a job on its standard input a run that never takes in what they make."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tests.remote.backend  # noqa: F401  # the models
from pixelmill.run.handoff import RunPlace, place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.share import do_share
from pixelmill.run.steps import Steps, run
from tests.support.namespace import Namespace

WORKER = (sys.executable, "-m", "tests.remote.placed")


def by_workers(
    env: Mapping[str, str], *, hidden: list[Path], before: Callable[[RunPlace, RunOrders], None] = lambda *_: None
) -> Steps:
    """The steps of a run whose workers each have a machine without the `hidden` folders. `before` may do something to
    what they have handed over before it is taken in."""

    def start(orders: RunOrders, intake: Intake) -> Lost:
        place, name = place_of(orders.job, orders.store_id, orders.scan)
        place.give(orders, intake)
        with Namespace(hidden=hidden) as there:
            for worker in orders.workers:
                there.run(*WORKER, name, worker, env=dict(env), check=True, capture_output=False, stderr=sys.stderr)
        before(place, orders)
        place.take_in(intake)
        place.clear()
        return {}

    return Steps(embed=start)


def _wait_for_ever(_: RunPlace, orders: RunOrders) -> None:
    if orders.shares:
        print("handed over", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    if sys.argv[1:]:
        do_share(*sys.argv[1:])
    else:
        from os import environ

        job = Job.model_validate_json(sys.stdin.read())
        run(job, by_workers(environ, hidden=[job.store], before=_wait_for_ever))

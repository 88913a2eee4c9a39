"""The deliveries of a run: made when all is published, as far as time allows; none keeps the others from theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pixelmill.deliver.deliver import untouched
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.in_time import deliver_in_time
from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryError, DeliveryLeft, TargetUnavailable
from pixelmill.run.job import Job
from pixelmill.watch.clocks import past
from pixelmill.watch.stopping import asked

OVERTIME: Final = 120.0
"""Seconds that all deliveries of a run get together after its deadline: a night whose embedding takes all of it
delivers as well. Later, each only looks how far its target is behind."""
PATIENCE: Final = 600.0
"""So many seconds a run waits for whoever else makes the same delivery: what hangs there may never end."""
LATEST: Final = 300.0
"""So many seconds after it none is begun: a run that cannot come to its end is ended (`watch/exit.py`)."""


def deliver_changes(job: Job, delivery: Delivery) -> Delivered:
    """Make one delivery of what is published now; nothing, where this process was asked to stop or it is too late.

    Raises TargetUnavailable where it may be tried again in time, else DeliveryLeft or DeliveryRefused.
    """
    if asked() or (job.deadline is not None and past(job.deadline + LATEST)):
        return untouched(job.store, delivery)
    end = None if job.deadline is None else job.deadline + OVERTIME
    try:
        return deliver_in_time(job.store, delivery, deadline=end, patience=PATIENCE)
    except TargetUnavailable as error:
        if not past(job.deadline):
            raise
        left = DeliveryLeft(str(error))
        left.delivered = error.delivered
        raise left from error


def make_all(job: Job, deliver: Callable[[Job, Delivery], Delivered], done: list[Delivered]) -> None:
    """Make each delivery of a job by `deliver`, and add what there is to tell of it to `done`."""
    for delivery in job.deliveries:
        try:
            done.append(deliver(job, delivery))
        except DeliveryError as error:
            told = error.delivered
            done.append(told if isinstance(told, Delivered) else untouched(job.store, delivery, str(error)))

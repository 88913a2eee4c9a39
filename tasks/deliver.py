"""Mirror vectors where they are searched."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.deliver import deliver as library
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.in_time import deliver_in_time
from pixelmill.deliver.told import Checked, Delivered
from pixelmill.run import deliveries
from pixelmill.run.job import Job
from pixelmill.run.retries import DELIVERY
from tasks._retries import tried_again


@task(name="deliver", task_run_name="deliver {delivery.name}", cache_policy=NO_CACHE, **tried_again(DELIVERY))
def deliver_changes(job: Job, delivery: Delivery) -> Delivered:
    """Make one delivery of what a run has published, as far as time allows."""
    return deliveries.deliver_changes(job, delivery)


@task(name="deliver", task_run_name="deliver {delivery.name}", cache_policy=NO_CACHE, **tried_again(DELIVERY))
def make_delivery(store: Path, delivery: Delivery, *, full: bool) -> Delivered:
    """Make the target of a delivery equal to a store."""
    return deliver_in_time(store, delivery, full=full)


@task(name="check", task_run_name="check {delivery.name}", cache_policy=NO_CACHE, **tried_again(DELIVERY))
def check_delivery(store: Path, delivery: Delivery, *, full: bool) -> Checked:
    """What differs between the target of a delivery and a store."""
    return library.check(store, delivery, full=full)

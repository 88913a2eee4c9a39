"""Find out what is missing."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run import steps
from pixelmill.run.job import Job
from pixelmill.run.prepare import Prepared
from pixelmill.run.retries import STORE
from tasks._retries import tried_again


@task(name="plan", cache_policy=NO_CACHE, **tried_again(STORE))
def plan_work(job: Job, scan: int) -> Prepared:
    """The matrix that each model fills, as far as it is settled, and the shards of images that lack one."""
    return steps.plan_work(job, scan)

"""Fill the columns of heads."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run import heads
from pixelmill.run.heads import Filled
from pixelmill.run.job import Job
from pixelmill.run.retries import STORE
from tasks._retries import tried_again


@task(name="heads", cache_policy=NO_CACHE, **tried_again(STORE))
def fill_heads(job: Job) -> Filled:
    """Bring the columns of a job's heads up to date; what there is to tell of each."""
    return heads.fill_heads(job)

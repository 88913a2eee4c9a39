"""Look at the sources."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run import steps
from pixelmill.run.job import Job
from pixelmill.run.retries import STORE
from pixelmill.run.scan import Scan
from tasks._retries import tried_again


@task(name="discover", cache_policy=NO_CACHE, **tried_again(STORE))
def discover_images(job: Job, started: float) -> Scan:
    """Record what the sources hold now."""
    return steps.discover_images(job, started)

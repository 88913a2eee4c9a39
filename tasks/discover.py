"""Look at the sources."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run import steps
from pixelmill.run.job import Job
from pixelmill.run.scan import Scan


@task(name="discover", cache_policy=NO_CACHE)
def discover_images(job: Job) -> Scan:
    """Record what the sources hold now."""
    return steps.discover_images(job)

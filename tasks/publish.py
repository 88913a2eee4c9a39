"""Let readers see where the images are now, and new generations that are complete."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run import steps
from pixelmill.run.course import Published
from pixelmill.run.job import Job
from pixelmill.run.retries import STORE
from tasks._retries import tried_again


@task(name="publish", cache_policy=NO_CACHE, **tried_again(STORE))
def publish_changes(job: Job, fingerprints: Sequence[str]) -> Published:
    """Publish moved and removed images, serve complete generations, join what is known of them, keep the parts
    few; what has changed."""
    return steps.publish_changes(job, fingerprints)

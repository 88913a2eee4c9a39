"""Let readers see where the images are now, and new generations that are complete."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run import steps
from pixelmill.run.job import Job
from pixelmill.store.settlement import Changes
from tasks._retries import may_pass


@task(name="publish", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, retry_condition_fn=may_pass)
def publish_changes(job: Job, fingerprints: Sequence[str]) -> Changes:
    """Publish moved and removed images, serve complete generations, keep the parts few; what has changed."""
    return steps.publish_changes(job, fingerprints)

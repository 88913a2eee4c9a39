"""Bring the models' weights to this machine."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.models.base import ModelSpec
from pixelmill.run import steps
from pixelmill.run.job import CacheSpec
from pixelmill.run.retries import DOWNLOAD
from tasks._retries import tried_again


@task(name="weights", task_run_name="weights {spec.name}", cache_policy=NO_CACHE, **tried_again(DOWNLOAD))
def fetch_weights(spec: ModelSpec, cache: CacheSpec) -> str:
    """Fetch and verify the weights of one model, unless they are cached; their sha256."""
    return steps.fetch_weights(spec, cache)

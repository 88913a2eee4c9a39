"""Bring the models' weights to this machine."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff
from rich.console import Console

from pixelmill.models.base import ModelSpec
from pixelmill.progress import download_bar
from pixelmill.run.job import CacheSpec
from tasks._retries import may_pass


@task(
    name="weights", task_run_name="weights {spec.name}", cache_policy=NO_CACHE, retries=4,
    retry_delay_seconds=exponential_backoff(backoff_factor=2), retry_jitter_factor=0.5, retry_condition_fn=may_pass,
)  # fmt: skip
def fetch_weights(spec: ModelSpec, cache: CacheSpec) -> str:
    """Fetch and verify the weights of one model, unless they are cached; their sha256."""
    with download_bar(f"weights {spec.name}", Console(stderr=True)) as progress:
        return cache.open().fetch(spec.weights, progress=progress).sha256

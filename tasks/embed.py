"""Embed one shard of images with all models of this worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from pixelmill.plan import Shard
from pixelmill.run import worker as work
from pixelmill.run.handoff import RunFolder
from pixelmill.run.job import Job
from pixelmill.run.results import ShardReport, this_process
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from tasks._retries import may_pass


@task(
    name="embed", task_run_name="embed shard {shard.number} ({shard.images} images)", cache_policy=NO_CACHE, retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=5), retry_jitter_factor=0.5, retry_condition_fn=may_pass,
)  # fmt: skip
def embed_shard(job: Job, matrices: Sequence[Matrix], scan: int, shard: Shard, worker: str) -> ShardReport:
    """Embed what the images of a shard lack, and commit it; a retry does only what is still missing."""
    return _embedded(job, matrices, scan, shard, worker)


@task(
    name="embed-ordered", task_run_name="embed shard {number}", cache_policy=NO_CACHE, retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=5), retry_jitter_factor=0.5, retry_condition_fn=may_pass,
)  # fmt: skip
def embed_ordered(store: str, run: int, number: int) -> ShardReport:
    """Embed one shard of a run that left its orders in the store, in some process of a cluster."""
    folder = RunFolder(Path(store), run)
    orders = folder.orders()
    (worker,) = orders.shares
    job, warning = orders.job_of(worker)
    ((shard, matrices),) = ((shard, matrices) for shard, matrices in orders.of(worker) if shard.number == number)
    with folder.alive(this_process()):
        did = _embedded(job, matrices, run, shard, worker)
    return replace(did, warnings=(*did.warnings, warning) if warning else did.warnings)


def _embedded(job: Job, matrices: Sequence[Matrix], scan: int, shard: Shard, worker: str) -> ShardReport:
    with StoreWriter(job.store) as writer:
        return work.embed_shard(job, writer, matrices, scan, shard, worker=worker)

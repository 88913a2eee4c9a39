"""Embed one shard of images with all models of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.plan import Shard
from pixelmill.run import share
from pixelmill.run.job import Job
from pixelmill.run.results import ShardReport
from pixelmill.run.retries import SHARD
from pixelmill.store.manifest import Matrix
from tasks._retries import tried_again


@task(
    name="embed", task_run_name="embed shard {shard.number} ({shard.images} images)", cache_policy=NO_CACHE,
    **tried_again(SHARD),
)  # fmt: skip
def embed_shard(job: Job, matrices: Sequence[Matrix], scan: int, shard: Shard, worker: str) -> ShardReport:
    """Embed what the images of a shard lack, and commit it; a retry does only what is still missing."""
    return share.embed_and_close(job, matrices, scan, shard, worker)


@task(name="embed-ordered", task_run_name="embed shard {number}", cache_policy=NO_CACHE, **tried_again(SHARD))
def embed_ordered(store: str, run: int, number: int) -> ShardReport:
    """Embed one shard of a run that left its orders in the store, in some process of a cluster."""
    return share.do_shard(Path(store), run, number)

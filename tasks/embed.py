"""Embed one shard of images with all models of this worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from pixelmill import work
from pixelmill.job import Job
from pixelmill.plan import Shard
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from tasks.retries import may_pass


@task(
    name="embed", task_run_name="embed shard {shard.number} ({shard.images} images)", cache_policy=NO_CACHE, retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=5), retry_jitter_factor=0.5, retry_condition_fn=may_pass,
)  # fmt: skip
def embed_shard(
    job: Job, matrices: Sequence[Matrix], scan: int, shard: Shard, on_embedded: Callable[[str, int], None]
) -> work.ShardReport:
    """Embed what the images of a shard lack, and commit it; a retry does only what is still missing."""
    with StoreWriter(job.store) as writer:
        return work.embed_shard(job, writer, matrices, scan, shard, on_embedded=on_embedded)

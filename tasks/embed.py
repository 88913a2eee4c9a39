"""Embed one shard of images with all models of a worker."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pixelmill.run.answer import ShardAnswer
from pixelmill.run.intake import Intake
from pixelmill.run.retries import SHARD
from pixelmill.run.share import embed_and_store
from pixelmill.run.worker import AtWork
from pixelmill.travel.shard_order import ShardOrder
from tasks._retries import tried_again

_NAME = "embed shard {order.number} ({order.images} images)"


@task(name="embed", task_run_name=_NAME, cache_policy=NO_CACHE, **tried_again(SHARD))
def embed_shard(work: AtWork, order: ShardOrder, intake: Intake) -> ShardOrder | None:
    """Embed what the images of a shard lack, and store it; what is left of it, if it takes long. A retry stores nothing
    twice."""
    return embed_and_store(work, order, intake)


@task(name="embed", task_run_name=_NAME, cache_policy=NO_CACHE, **tried_again(SHARD))
def embed_for_others(work: AtWork, order: ShardOrder) -> ShardAnswer:
    """Embed what the images of a shard lack, for a run elsewhere."""
    return work.embed(order)

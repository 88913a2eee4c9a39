"""One worker's share of a run: its orders are read, its shards done one by one, and each is told of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from pixelmill.plan import Shard
from pixelmill.run.handoff import RunFolder
from pixelmill.run.job import Job
from pixelmill.run.loaded import release_models
from pixelmill.run.results import ShardReport, this_process
from pixelmill.run.worker import embed_shard
from pixelmill.store.commit import StoreWriter
from pixelmill.store.living import holding
from pixelmill.store.manifest import Matrix
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import model_hangs

EmbedShard = Callable[[Job, Sequence[Matrix], int, Shard, str], ShardReport]
"""Do a shard of a scan as a worker."""
Show = Callable[[Mapping[str, int]], AbstractContextManager[object]]
"""Show how far the images to embed, by model, have come while a block runs."""


def embed_and_close(job: Job, matrices: Sequence[Matrix], scan: int, shard: Shard, worker: str) -> ShardReport:
    """Embed what the images of a shard lack, and commit it; the store is open for no longer."""
    with StoreWriter(job.store) as writer:
        return embed_shard(job, writer, matrices, scan, shard, worker=worker)


def do_share(
    store: Path, scan: int, worker: str, *, embed: EmbedShard = embed_and_close, show: Show = nullcontext
) -> None:
    """Do what the orders of a run give to a worker, on its device, until the deadline; each shard is reported.

    It ends when the device does not answer. Raises StoreError where there are no orders, and DeviceUnavailable.
    """
    folder = RunFolder(store, scan)
    orders = folder.orders()
    job, warning = orders.job_of(worker)
    try:
        with holding(store, scan), folder.alive(worker), show(orders.images(worker)):
            for shard, matrices in orders.of(worker):
                if past(job.deadline):
                    break
                folder.report(_warned(embed(job, matrices, scan, shard, worker), warning))
                if model_hangs():
                    break
    finally:
        release_models()


def do_shard(store: Path, scan: int, number: int) -> ShardReport:
    """Do one shard of a run whose orders give all to one worker: to a cluster, of which this is some process."""
    folder = RunFolder(store, scan)
    orders = folder.orders()
    (worker,) = orders.shares
    job, warning = orders.job_of(worker)
    shard, matrices = next(given for given in orders.of(worker) if given[0].number == number)
    with folder.alive(this_process()):
        return _warned(embed_and_close(job, matrices, scan, shard, worker), warning)


def _warned(did: ShardReport, warning: str) -> ShardReport:
    return replace(did, warnings=(*did.warnings, warning)) if warning else did

"""A shard of a plan done in this process and stored at once, for tests that go from step to step."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.plan import Shard
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.measure import measure_of
from pixelmill.run.orders import RunOrders
from pixelmill.run.results import ShardReport
from pixelmill.run.share import embed_and_store
from pixelmill.run.worker import AtWork
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix


def orders_for(
    job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int, shards: Sequence[Shard], worker: str
) -> RunOrders:
    """Orders that give all to one worker."""
    store = writer.snapshot()
    share = {shard.number: tuple(matrix.provenance.model for matrix in matrices) for shard in shards}
    measures = {matrix.provenance.fingerprint: measure_of(store, matrix) for matrix in matrices}
    return RunOrders(
        job=job, store_id=store.manifest.store_id, scan=scan, matrices=tuple(matrices), measures=measures,
        shards=tuple(shards), shares={worker: share},
    )  # fmt: skip


def embed_shard(
    job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int, shard: Shard, *, worker: str = "inline"
) -> ShardReport:
    """Embed what the images of a shard lack, and store it."""
    orders = orders_for(job, writer, matrices, scan, [shard], worker)
    intake, work = Intake(writer, orders), AtWork(orders, worker)
    (fingerprints,) = (fingerprints for _, fingerprints in orders.of(worker))
    embed_and_store(work, intake.order(shard, fingerprints), intake)
    return intake.done[-1]

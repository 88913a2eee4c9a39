"""One worker: one process, its models loaded once, shards taken one by one."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from pixelmill.job import Job
from pixelmill.plan import Plan
from pixelmill.progress import embedding_bars
from pixelmill.store.manifest import Matrix
from pixelmill.work import ShardReport, combined, past, release_models
from tasks.embed import embed_shard


@flow(name="embed", validate_parameters=False)
def embed(job: Job, matrices: Sequence[Matrix], scan: int, plan: Plan) -> ShardReport:
    """Embed the shards of a plan until they or the time are used up.

    Args:
        job: What the run is asked to do.
        matrices: The matrix that each model fills.
        scan: The number of the scan that found the images.
        plan: What is missing.
    """
    totals = {m.provenance.model: plan.pending[m.provenance.fingerprint] for m in matrices}
    reports: list[ShardReport] = []
    with embedding_bars(totals) as on_embedded:
        for shard in plan.shards:
            if past(job.deadline):
                break
            reports.append(embed_shard(job, matrices, scan, shard, on_embedded))
    release_models()
    return combined(reports)

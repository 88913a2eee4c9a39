"""What a run would do: how many images each model lacks, found without any model."""

from __future__ import annotations

from collections.abc import Mapping

from pixelmill.plan import Plan, count_pending, cut
from pixelmill.run.job import Job
from pixelmill.run.matrices import existing_matrices
from pixelmill.store.commit import StoreWriter


def count_missing(job: Job, writer: StoreWriter, scan: int) -> dict[str, int]:
    """How many images each model of the job lacks; nothing is fetched, loaded or made."""
    store, cache = writer.snapshot(), job.cache.open()
    pending = {}
    for spec in job.specs:
        file = cache.cached(spec.weights)
        sha256 = file.sha256 if file else spec.weights.sha256 if spec.weights.pinned else None
        found = existing_matrices(store.manifest, job, spec, sha256) if sha256 else []
        if found:
            pending[spec.name] = count_pending(writer.ledger, store, found[:1], scan).total()
        else:
            pending[spec.name] = sum(1 for _ in writer.ledger.images(scan))
    return pending


def plan_of(job: Job, pending: Mapping[str, int]) -> Plan:
    """A plan for so many images by model, to reckon with: none is recorded."""
    images = max(pending.values(), default=0)
    return Plan(dict(pending), images, cut(images, job.shard_size, job.parallel))

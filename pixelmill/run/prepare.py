"""What a run has to do: the matrix that each model fills, and the plan of what they lack."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.images.sandbox_pool import start_ahead
from pixelmill.plan import Plan, count_pending, make_plan
from pixelmill.run.drift import forget_measured
from pixelmill.run.job import Job
from pixelmill.run.loaded import release_models
from pixelmill.run.matrices import existing_matrices, matrix_to_fill, sample_files
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix


def prepare(job: Job, writer: StoreWriter, scan: int) -> tuple[list[Matrix], Plan]:
    """The matrix that each model of the job fills, in the order of the job, and the plan of what they lack.

    A model is loaded here only when something is to embed: to settle the `auto` choices of a new matrix, and to make
    sure that it still makes what an older one holds. Without any image there is no matrix to make. If others do
    the work, that happens on whatever device is here, and the models are released. A model that hangs meanwhile fills
    what it filled before, or nothing.
    """
    elsewhere = job.fan_out != "inline"
    if elsewhere:
        job = job.model_copy(update={"device": "auto", "devices": {}})
    store = writer.snapshot()
    cache = job.cache.open()
    files = {spec: cache.fetch_model(spec) for spec in job.specs}
    found = {spec: existing_matrices(store.manifest, job, spec, files[spec].sha256) for spec in job.specs}
    matrices = [fitting[0] for fitting in found.values() if fitting]
    complete = len(matrices) == len(job.specs) and not count_pending(writer.ledger, store, matrices, scan)
    samples = [] if complete else sample_files(writer.ledger, scan)
    if samples:
        start_ahead()
        forget_measured()
        settled = [matrix_to_fill(job, writer, spec, files[spec], found[spec], samples) for spec in job.specs]
        matrices = [matrix for matrix in settled if matrix]
    if elsewhere:
        release_models()
    return matrices, plan_for(job, writer, matrices, scan)


def plan_for(job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int) -> Plan:
    """What `matrices` lack now. With a deadline the newest images come first: it may leave the rest."""
    return make_plan(
        writer.ledger, writer.snapshot(), matrices, scan, job.shard_size,
        workers=job.parallel, newest_first=job.deadline is not None,
    )  # fmt: skip

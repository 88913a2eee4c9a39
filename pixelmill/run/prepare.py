"""What a run has to do: the matrix that each model fills, and the plan of what they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pixelmill.images.sandbox_pool import start_ahead
from pixelmill.plan import Plan, count_pending, make_plan
from pixelmill.run.intake import settle_in
from pixelmill.run.job import Job
from pixelmill.run.matrices import existing_matrices, sample_files
from pixelmill.run.measure import Measure, measure_of
from pixelmill.run.orders import Unsettled
from pixelmill.run.results import ShardReport
from pixelmill.run.settle import settle
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.watch.hangs import Unanswered


@dataclass(frozen=True, slots=True)
class Prepared:
    """The matrices that the models of a job fill, as far as that is settled, and the plan of what those lack.
    `unsettled` is for workers to find out. `taken_in` is what those of earlier runs had handed over, `refused` what of
    it could not be used."""

    matrices: tuple[Matrix, ...]
    plan: Plan
    unsettled: tuple[Unsettled, ...] = ()
    taken_in: tuple[ShardReport, ...] = ()
    refused: tuple[str, ...] = ()


def prepare(job: Job, writer: StoreWriter, scan: int) -> Prepared:
    """The matrix that each model of the job fills, in the order of the job, and the plan of what they lack.

    A model is loaded here only when this process embeds and there is something to embed: to settle the `auto` choices
    of a new matrix, and to make sure that it still makes what an older one holds. If others do the work, they find out
    about what is new, and compare what they make with what is stored. Without any image there is no matrix to make. A
    model that hangs meanwhile fills what it filled before, or nothing.
    """
    found = _found(job, writer)
    matrices = {model: fitting[0] for model, fitting in found.items() if fitting}
    complete = len(matrices) == len(job.specs) and not _pending(writer, list(matrices.values()), scan)
    samples = () if complete else tuple(sample_files(writer.ledger, scan))
    unsettled: tuple[Unsettled, ...] = ()
    if samples and job.fan_out == "inline":
        start_ahead()
        for spec in job.specs:
            if matrix := _settled_here(job, writer, Unsettled(spec.name, _measured(writer, found[spec.name]), samples)):
                matrices[spec.name] = matrix
    elif samples:
        for matrix in matrices.values():
            writer.continue_with(matrix.provenance.fingerprint)
        unsettled = tuple(Unsettled(spec.name, (), samples) for spec in job.specs if spec.name not in matrices)
    filled = [matrices[spec.name] for spec in job.specs if spec.name in matrices]
    plan = Plan({}, 0, ()) if unsettled else plan_for(job, writer, filled, scan)  # made when all is settled
    return Prepared(tuple(filled), plan, unsettled)


def unsettled_again(job: Job, writer: StoreWriter, scan: int, models: Sequence[str]) -> tuple[Unsettled, ...]:
    """What has to be found out anew of models that no worker makes any more as they are stored."""
    found, samples = _found(job, writer), tuple(sample_files(writer.ledger, scan))
    return tuple(Unsettled(model, _measured(writer, found[model]), samples) for model in models)


def plan_for(job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int) -> Plan:
    """What `matrices` lack now. With a deadline the newest images come first: it may leave the rest."""
    return make_plan(
        writer.ledger, writer.snapshot(), matrices, scan, job.shard_size,
        workers=job.parallel, newest_first=job.deadline is not None,
    )  # fmt: skip


def _found(job: Job, writer: StoreWriter) -> Mapping[str, list[Matrix]]:
    manifest, cache = writer.snapshot().manifest, job.cache.open()
    return {s.name: existing_matrices(manifest, job, s, cache.fetch_model(s).sha256) for s in job.specs}


def _pending(writer: StoreWriter, matrices: Sequence[Matrix], scan: int) -> int:
    return sum(count_pending(writer.ledger, writer.snapshot(), matrices, scan).values())


def _measured(writer: StoreWriter, found: Sequence[Matrix]) -> tuple[tuple[Matrix, Measure], ...]:
    store = writer.snapshot()
    return tuple((matrix, measure_of(store, matrix)) for matrix in found)


def _settled_here(job: Job, writer: StoreWriter, asked: Unsettled) -> Matrix | None:
    """The matrix that a model fills in this process. If the model hangs, the first one found."""
    try:
        settled = settle(job, asked, first_rows=False)
    except Unanswered:  # it is on record as what hangs
        return asked.found[0][0] if asked.found else None
    for fingerprint, (compared, cosine) in settled.checks.items():
        writer.ledger.runs.record_check(fingerprint, compared, cosine)
    return settle_in(writer, settled, job.vector_dtype)

"""What a run has to do: the matrix that each model fills, and the plan of what they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pixelmill.embedding.precision import PrecisionFound
from pixelmill.errors import PixelmillError
from pixelmill.images.sandbox_pool import start_ahead
from pixelmill.plan import Plan, count_pending, make_plan
from pixelmill.run.facts import begin_facts, facts_of
from pixelmill.run.intake import settle_in
from pixelmill.run.job import Job
from pixelmill.run.matrices import existing_matrices, sample_files
from pixelmill.run.measure import Measure, measure_of
from pixelmill.run.models_left_out import Reasons, left_out, without
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
    it could not be used; `models_left_out` says by model why it cannot be had, `measured` how the
    precision of a new one was found."""

    matrices: tuple[Matrix, ...]
    plan: Plan
    unsettled: tuple[Unsettled, ...] = ()
    taken_in: tuple[ShardReport, ...] = ()
    refused: tuple[str, ...] = ()
    models_left_out: Reasons = field(default_factory=dict)
    measured: dict[str, PrecisionFound] = field(default_factory=dict)


def prepare(job: Job, writer: StoreWriter, scan: int) -> Prepared:
    """The matrix that each model of the job fills, in the order of the job, and the plan of what they lack.

    A model is loaded here only when this process embeds and there is something to embed: to settle the `auto` choices
    of a new matrix, and to make sure that it still makes what an older one holds. If others do the work, they find out
    about what is new, and compare what they make with what is stored. Without any image there is no matrix to make, nor
    are there facts. A model that hangs meanwhile fills what it filled before, or nothing. One that cannot be had is
    left out; raises what the first one failed with, if none is left.
    """
    if any(True for _ in writer.ledger.worklist.images(scan)):
        begin_facts(job, writer)
    failed: dict[str, Exception] = {}
    measured: dict[str, PrecisionFound] = {}
    found = _found(job, writer, failed)
    able = without(job, failed)
    matrices = {model: fitting[0] for model, fitting in found.items() if fitting}
    complete = len(matrices) == len(able.specs) and not _pending(writer, list(matrices.values()), scan)
    samples = () if complete else tuple(sample_files(writer.ledger, scan))
    unsettled: tuple[Unsettled, ...] = ()
    if samples and job.fan_out == "inline":
        start_ahead()
        for spec in able.specs:
            asked = Unsettled(spec.name, _measured(writer, found[spec.name]), samples)
            if matrix := _settled_here(job, writer, asked, failed, measured):
                matrices[spec.name] = matrix
            elif spec.name in failed:
                matrices.pop(spec.name, None)
    elif samples:
        for matrix in matrices.values():
            writer.continue_with(matrix.provenance.fingerprint)
        unsettled = tuple(Unsettled(spec.name, (), samples) for spec in able.specs if spec.name not in matrices)
    reasons = left_out(job, failed)
    filled = [matrices[spec.name] for spec in job.specs if spec.name in matrices]
    plan = Plan({}, 0, ()) if unsettled else plan_for(job, writer, filled, scan)  # made when all is settled
    return Prepared(tuple(filled), plan, unsettled, models_left_out=reasons, measured=measured)


def unsettled_again(job: Job, writer: StoreWriter, scan: int, models: Sequence[str]) -> tuple[Unsettled, ...]:
    """What has to be found out anew of models that no worker makes any more as they are stored."""
    found, samples = _found(job, writer, {}), tuple(sample_files(writer.ledger, scan))
    return tuple(Unsettled(model, _measured(writer, found.get(model, [])), samples) for model in models)


def plan_for(job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int) -> Plan:
    """What `matrices` and facts lack now. With a deadline the newest images come first: it may leave the rest."""
    store = writer.snapshot()
    return make_plan(
        writer.ledger, store, [*matrices, *facts_of(job, store.manifest)], scan, job.shard_size,
        workers=job.parallel, newest_first=job.deadline is not None,
    )  # fmt: skip


def _found(job: Job, writer: StoreWriter, failed: dict[str, Exception]) -> Mapping[str, list[Matrix]]:
    """The matrices that models could go on with; those whose weights cannot be had are noted as `failed`."""
    manifest, cache = writer.snapshot().manifest, job.cache.open()
    found = {}
    for spec in job.specs:
        try:
            found[spec.name] = existing_matrices(manifest, job, spec, cache.fetch_model(spec).sha256)
        except (PixelmillError, OSError) as error:
            failed[spec.name] = error
    return found


def _pending(writer: StoreWriter, matrices: Sequence[Matrix], scan: int) -> int:
    return sum(count_pending(writer.ledger, writer.snapshot(), matrices, scan).values())


def _measured(writer: StoreWriter, found: Sequence[Matrix]) -> tuple[tuple[Matrix, Measure], ...]:
    store = writer.snapshot()
    return tuple((matrix, measure_of(store, matrix)) for matrix in found)


def _settled_here(
    job: Job, writer: StoreWriter, asked: Unsettled, failed: dict[str, Exception], measured: dict[str, PrecisionFound]
) -> Matrix | None:  # fmt: skip
    """The matrix that a model fills in this process. If the model hangs, the first one found; one that does not load is
    noted as `failed`, and how a precision was found as `measured`."""
    try:
        settled = settle(job, asked, first_rows=False)
    except Unanswered:  # it is on record as what hangs
        return asked.found[0][0] if asked.found else None
    except Exception as error:  # whatever a library makes of a file, or a device of a model
        failed[asked.model] = error
        return None
    if settled.measured:
        measured[asked.model] = settled.measured
    for fingerprint, (compared, cosine) in settled.checks.items():
        writer.ledger.runs.record_check(fingerprint, compared, cosine)
    return settle_in(writer, settled, job.vector_dtype)

"""What a run has done by model, and what waits: of every model of its job, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from pixelmill.embedding.precision import PrecisionFound
from pixelmill.plan import NO_MATRIX, count_pending
from pixelmill.report.model import FactsReport, ModelReport, PrecisionOrigin
from pixelmill.run.facts import facts_of
from pixelmill.run.job import Job
from pixelmill.run.matrices import existing_matrices
from pixelmill.run.results import ShardReport
from pixelmill.run.scan import Scan
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Fillable, Matrix
from pixelmill.store.reader import Store

Measured = Mapping[str, PrecisionFound]
"""By model, how its precision was found in a run."""
NOTHING_MEASURED: Final[Measured] = MappingProxyType({})


def pending_now(
    job: Job, store: Store, ledger: Ledger, scan: Scan, filled: Mapping[str, Matrix | None]
) -> Mapping[str, int]:
    """How many of the images seen lack each matrix, NO_MATRIX and the facts, by fingerprint: in one pass over them."""
    found = [matrix for matrix in filled.values() if matrix]
    asked: list[Fillable] = [*found, *facts_of(job, store.manifest)]
    return count_pending(ledger, store, asked, scan.number, and_new=len(found) < len(filled))


def by_model(
    job: Job, store: Store, ledger: Ledger, scan: Scan, filled: Mapping[str, Matrix | None],
    pending: Mapping[str, int], total: ShardReport, workers: Mapping[str, ShardReport],
    measured: Measured = NOTHING_MEASURED,
) -> dict[str, ModelReport]:  # fmt: skip
    """What each model of a job did in a run, and what of the images seen is `pending` for it now."""
    models = {}
    for spec in job.specs:
        name, matrix = spec.name, filled[spec.name]
        made = matrix.provenance if matrix else None
        speeds = [did.embedded.get(name, 0) / did.seconds for did in workers.values() if did.seconds]
        models[name] = ModelReport(
            embedded=total.embedded.get(name, 0),
            pending=pending.get(made.fingerprint if made else NO_MATRIX, 0),
            quarantined=ledger.quarantine.seen(scan.number, [made.fingerprint] if made else []),
            dim=made.dim if made else spec.dim,
            device=total.devices.get(name, job.devices.get(name, job.device)),
            precision=made.precision if made else job.precision,
            decode=made.decode if made else job.decode or "fast",
            images_per_second=round(sum(speeds), 1),
            dataset=_dataset(store, matrix) if matrix else name,
            precision_origin=_origin(job, matrix, name in measured),
            precision_measured=measured.get(name),
        )
    return models


def _origin(job: Job, matrix: Matrix | None, is_measured: bool) -> PrecisionOrigin:
    if job.precision != "auto":
        return "asked"
    return "measured" if is_measured else "kept" if matrix else ""


def facts_report(job: Job, store: Store, pending: Mapping[str, int], total: ShardReport) -> FactsReport | None:
    """What became of the facts in a run; None where it makes none."""
    reports = (FactsReport(made=total.facts, pending=pending.get(facts.fingerprint, 0))
               for facts in facts_of(job, store.manifest))  # fmt: skip
    return next(reports, None)


def filled_by(job: Job, store: Store, matrices: Sequence[Matrix]) -> dict[str, Matrix | None]:
    """By model the matrix that it fills: of one that the run did not come to, that which it could go on with; None for
    one that is still to be made."""
    made = {matrix.provenance.model: matrix for matrix in matrices}
    return {
        spec.name: made.get(spec.name) or next(iter(existing_matrices(store.manifest, job, spec, None)), None)
        for spec in job.specs
    }


def _dataset(store: Store, matrix: Matrix) -> str:
    return (store.manifest.matrix(matrix.provenance.fingerprint) or matrix).published_name

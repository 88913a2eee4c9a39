"""A run beside the last ones over the same sources: a line for each, and words where this one stands out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from pixelmill.report.model import Night, RunReport, read_report
from pixelmill.run.results import WorkerReport
from pixelmill.store.ledger import Ledger

TIMED = 50
"""How many of the last runs tell how fast the workers are."""
LAST = 7
"""Earlier runs that one is compared with."""
ENOUGH = 3
"""Fewer of them tell nothing about what is usual."""
SLOW, MEASURED = 0.5, 100
"""A run is slow below this share of the median speed; runs that read fewer images measure no speed."""
FAILING, MANY = 3.0, 10
"""Failures are many from this number on, if they are more than so many times the median share of the images read."""
DRIFT = 1e-4
"""A cosine of the self-check that is so much lower than in the run before is told."""
SHRUNK = 0.9
"""A source has shrunk below this share of the images that the run before saw there."""


def recorded(ledger: Ledger, most: int) -> list[RunReport]:
    """The reports of the last runs, newest first."""
    return [report for kept in ledger.runs.last(most) if (report := read_report(kept)) is not None]


def speeds(ledger: Ledger) -> list[dict[str, WorkerReport]]:
    """What the workers of the last runs did, by worker: how fast they are."""
    return [report.workers for report in recorded(ledger, TIMED)]


def comparable(report: RunReport, runs: Sequence[RunReport]) -> list[RunReport]:
    """Those of `runs` (newest first) that were over the same folders as the run of `report`, at most `LAST`; also those
    that came to none."""
    same = [r for r in runs if r.sources.keys() == report.sources.keys() or (r.ended != "done" and not r.sources)]
    return same[:LAST]


def usual(runs: Sequence[RunReport]) -> list[RunReport]:
    """Those of `runs` that a run is compared with: what failed, or was stopped, is no measure."""
    return [run for run in runs if run.ended == "done"]


def night(report: RunReport) -> Night:
    return Night(
        started=report.started,
        new=report.images.new,
        embedded=_embedded(report),
        quarantined=report.images.quarantined,
        pending=_pending(report),
        seconds=report.seconds,
        images_per_second=round(_speed(report), 1),
        ended=report.ended,
    )


def notable(report: RunReport, earlier: Sequence[RunReport]) -> list[str]:
    """What stands out of a run beside `earlier` ones (newest first), in words."""
    return [
        *drifted(report),
        *_slow(report, earlier),
        *_failing(report, earlier),
        *shrunk(report, earlier),
        *_behind(report, earlier),
    ]


def drifted(report: RunReport) -> Iterator[str]:
    """Models that do not make what they made, in words."""
    for model, check in report.self_check.items():
        if not check.sound:
            yield (
                f"{model} does not make what is stored any more: cosine {check.least_cosine:.4f} for "
                f"{check.compared} images embedded again. A library, driver or decoder changed; what it makes now "
                "goes into a new generation, which takes over when it covers the store."
            )
        elif check.before and check.least_cosine < check.before[0] - DRIFT:
            yield (
                f"{model} drifts: its stored images come to cosine {check.least_cosine:.6f} when embedded again; in "
                f"the run before it was {check.before[0]:.6f}."
            )


def _slow(report: RunReport, earlier: Sequence[RunReport]) -> Iterator[str]:
    like = [run for run in earlier if _models(run) == _models(report) and _read(run) >= MEASURED]
    if _read(report) < MEASURED or len(like) < ENOUGH:
        return
    speed, usual = _speed(report), median(map(_speed, like))
    if speed < SLOW * usual:
        yield f"Slow: {speed:,.1f} images/s; the last runs made {usual:,.1f} (median)."


def _failing(report: RunReport, earlier: Sequence[RunReport]) -> Iterator[str]:
    if _failed(report) < MANY or len(earlier) < ENOUGH:
        return
    share, usual = _failed_share(report), median(map(_failed_share, earlier))
    if share > FAILING * usual:
        yield (
            f"Many failures: {_failed(report):,} new, {share:.1%} of the images read; "
            f"in the last runs it was {usual:.1%} (median)."
        )


def shrunk(report: RunReport, earlier: Sequence[RunReport]) -> Iterator[str]:
    """Sources with far fewer images than in the run before, in words."""
    before = earlier[0].sources if earlier else {}
    for source, seen in report.sources.items():
        if 0 < seen < SHRUNK * before.get(source, 0):  # of one that is empty the run warns
            yield f"{source} has shrunk: {seen:,} images; the run before saw {before[source]:,}."


def _behind(report: RunReport, earlier: Sequence[RunReport]) -> Iterator[str]:
    pending, before = _pending(report), _pending(earlier[0]) if earlier else 0
    if pending > before > 0:
        yield f"Falling behind: {pending:,} vectors are pending; after the run before it were {before:,}."


def _embedded(report: RunReport) -> int:
    return sum(model.embedded for model in report.models.values())


def _pending(report: RunReport) -> int:
    return sum(model.pending for model in report.models.values())


def _models(report: RunReport) -> set[str]:
    return {name for name, model in report.models.items() if model.embedded}


def _read(report: RunReport) -> int:
    return sum(worker.images for worker in report.workers.values())


def _speed(report: RunReport) -> float:
    """Images a second of all workers, which run beside each other."""
    workers = report.workers.values()
    return float(sum(worker.images / worker.seconds for worker in workers if worker.seconds))


def _failed(report: RunReport) -> int:
    return sum(group.new for group in report.failures)


def _failed_share(report: RunReport) -> float:
    """New failures by images read; a run that died may have read those that this one tells of."""
    return _failed(report) / max(_read(report), _failed(report), 1)

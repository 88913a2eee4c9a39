"""What a run did, in the form that `run --json` prints and the store keeps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from pixelmill.deliver.told import Delivered
from pixelmill.embedding.precision import LEAST_COSINE
from pixelmill.errors import StoreError
from pixelmill.formatting import moment
from pixelmill.heads.told import HeadReport
from pixelmill.joining.told import NOTHING_JOINED, ColumnsReport
from pixelmill.report.attention import attention, end_of
from pixelmill.report.bottleneck import advice
from pixelmill.report.by_model import NOTHING_MEASURED, Measured, by_model, facts_report, filled_by, pending_now
from pixelmill.report.columns import with_beside
from pixelmill.report.deliveries import failure as undelivered
from pixelmill.report.history import comparable, night, notable, recorded, usual
from pixelmill.report.model import (
    DryRunReport,
    ImageCounts,
    PendingCount,
    RunReport,
    SeenCount,
    SelfCheck,
    WorkerPlan,
)
from pixelmill.report.new_images import new_images
from pixelmill.run.job import Job
from pixelmill.run.lost import who_is_left_out
from pixelmill.run.results import Ended, ShardReport, combined, worker_report
from pixelmill.run.room import Room
from pixelmill.run.scan import Scan
from pixelmill.run.schedule import Schedule
from pixelmill.run.unreadable import told_one_by_one, unreadable_sources, what_is_wrong
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.rows import Changes
from pixelmill.watch.hangs import DELIVERING, Hang, hanging

_NONE: Mapping[str, float] = MappingProxyType({})
_RUNS = 50
"""How many runs back are looked through for those over the same sources."""
_PATHS = 50
"""Paths that warnings name one by one: a disk that fails must not swell the report, which is kept."""


def build(
    job: Job, store: Store, ledger: Ledger, scan: Scan, matrices: Sequence[Matrix], changes: Changes,
    done: Sequence[ShardReport], *, started: float, seconds: float, warnings: Sequence[str] = (), plan: str = "",
    lost: Sequence[str] = (), columns: ColumnsReport = NOTHING_JOINED, heads: Sequence[HeadReport] = (),
    deliveries: Sequence[Delivered] = (), ended: Ended = "done", error: str = "",
    steps: Mapping[str, float] = _NONE, to_the_end: bool = True, measured: Measured = NOTHING_MEASURED,
) -> RunReport:  # fmt: skip
    """The report of a run: counts of images and, for each model, of vectors. Nothing is written.

    `done` is what the workers did, shard by shard, as `plan` said in words, `lost` is which of them were lost.
    `embedded` counts this run's vectors; `quarantined` and `pending` what of the images seen is so now. `to_the_end`:
    whether the run came to its end, however that was. docs/report.md says what each key means.
    """
    if to_the_end:
        _require_scan(ledger, scan)
    total, workers = combined(done), by_worker(done)
    filled = filled_by(job, store, matrices)
    fingerprints = [matrix.provenance.fingerprint for matrix in filled.values() if matrix]
    pending = pending_now(job, store, ledger, scan, filled)
    rate = _failure_rate(total)
    hung = _hung(scan, total)
    unreadable = unreadable_sources(
        scan.unreadable, scan.folders, total.unread, in_all=scan.seen, most=job.max_failure_rate,
        look=lambda folder: what_is_wrong(folder, job.deadline),
    )  # fmt: skip
    lost = (*lost, *_left_out(job, done, lost))
    notice = tuple(filter(None, [ledger.runs.notice()]))
    report = RunReport(
        store=os.fspath(job.store),
        started=_iso(started),
        seconds=round(seconds, 1),
        ended=ended,
        error=error,
        steps=dict(steps),
        sources=dict(scan.folders),
        images=_images(ledger, scan, changes, fingerprints),
        models=by_model(job, store, ledger, scan, filled, pending, total, workers, measured),
        facts=facts_report(job, store, pending, total),
        bottleneck=total.timing.bottleneck,
        advice=advice(total, matrices),
        coverage=coverage(store, ledger),
        embedded_twice=total.embedded_twice,
        columns=with_beside(columns, scan.beside),
        heads=tuple(heads),
        deliveries=tuple(deliveries),
        folders=changes.folders,
        new_images=new_images(store, changes),
        failures=tuple(ledger.quarantine.groups(scan.number, fingerprints, _new_since(ledger, started))),
        failure_rate=rate,
        exceeded_failure_rate=rate > job.max_failure_rate,
        failure=scan.failure or _hangs(hung) or undelivered(deliveries) if to_the_end else "",
        hung=hung,
        unreadable=unreadable,
        warnings=(
            *lost,
            *warnings,
            *map(str, hung),
            *notice,
            *_some(scan.problems),
            *map(str, (source for source in unreadable if source not in scan.unreadable)),
            *_some(told_one_by_one(total.unread, scan.folders, unreadable)),
            *_noted(total),
            *dict.fromkeys(total.warnings),
        ),
        self_check=_self_checks(store, ledger, matrices, started),
        workers={name: worker_report(did) for name, did in workers.items()},
        plan=plan,
    )
    earlier = comparable(report, recorded(ledger, _RUNS))
    report = report.model_copy(update={"nights": tuple(map(night, earlier))})
    if not to_the_end:
        return report
    beside = {
        "notable": (*_no_images(scan), *notable(report, usual(earlier))),
        "attention": attention(report, usual(earlier), (*lost, *notice)),
    }
    report = report.model_copy(update=beside)
    end = end_of(report, missing_source=job.missing_source, most=job.max_failure_rate)
    if ended == "done" and end.kind == "failed":
        return report.model_copy(update={"ended": "failed", "error": end.words})
    return report


def close(ledger: Ledger, scan: Scan, report: RunReport, started: float) -> RunReport:
    """The end of a run: what it told is known from now on, and its report is kept; it says so if it could not be. Done
    again, because it was interrupted, it does what is left."""
    ledger.settle()
    told = keep(ledger, report, started)
    ledger.scans.forget(scan.number)
    return told


def keep(ledger: Ledger, report: RunReport, started: float, *, to_the_end: bool = True) -> RunReport:
    """Keep the report of a run; it says so if it could not be. Of one that did not come to its end nothing is settled:
    what it found, the next one tells."""
    if ledger.runs.record(started, report.as_json(), is_finished=to_the_end):
        return report
    lost = f"This report could not be kept in the store: run `pixelmill repair {report.store}`."
    return report.model_copy(update={"warnings": (*report.warnings, lost)})


def late_report(job: Job, began: float) -> RunReport:
    """The report of a run that began (Unix seconds) after its deadline, and looked at nothing."""
    when, deadline = (_iso(at) for at in (began, job.deadline or began))
    why = f"It began at {moment(when)}, after its deadline at {moment(deadline)}: the next run does the work."
    return RunReport(
        store=os.fspath(job.store), started=when, seconds=0.0, sources={}, models={}, attention=(why,),
        images=ImageCounts(**dict.fromkeys(ImageCounts.model_fields, 0)),
    )  # fmt: skip


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def _no_images(scan: Scan) -> list[str]:
    """A word on files that were looked at where no image was found."""
    if scan.seen or not scan.skipped:
        return []
    return [f"None of the {scan.skipped:,} files looked at is an image by its content or, at addresses, by its name."]


def _images(ledger: Ledger, scan: Scan, changes: Changes, fingerprints: Sequence[str]) -> ImageCounts:
    return ImageCounts(
        seen=scan.seen,
        new=changes.new,
        changed=changes.changed,
        moved=changes.moved,
        duplicate=changes.duplicate,
        removed=changes.removed,
        quarantined=ledger.quarantine.seen(scan.number, fingerprints),
    )


def _hung(scan: Scan, total: ShardReport) -> tuple[Hang, ...]:
    """What did not answer in this run, and what this process was left to wait for elsewhere; of targets, deliveries
    tell."""
    told = (*scan.hung, *scan.beside.hung, *total.hung)
    known = {hang.what for hang in told}
    return (*told, *(hang for hang in hanging() if hang.what not in known and hang.stage != DELIVERING))


def _hangs(hung: Sequence[Hang]) -> str:
    if not hung:
        return ""
    more = f" So it is with {len(hung) - 1:,} more: the report names them." if len(hung) > 1 else ""
    return f"All else is done and stored, but something hangs: {hung[0]}{more} The next run tries again."


def _left_out(job: Job, done: Sequence[ShardReport], told: Sequence[str]) -> list[str]:
    """Of workers that could not do their work, for want of files or because something hangs, those not told of yet."""
    if job.fan_out == "inline":
        return []
    lost = who_is_left_out(done)
    return [f"Worker {name}: {why}" for name, why in lost.items() if not any(f"Worker {name} was" in t for t in told)]


def _require_scan(ledger: Ledger, scan: Scan) -> None:
    """Nobody may take for done what nobody knows of."""
    if (found := ledger.scans.seen(scan.number)) < scan.seen:
        raise StoreError(
            f"Expected the {scan.seen:,} images that run {scan.number} has found in {ledger.path}. Found {found:,}: "
            "was the store repaired, or put back from a backup? What was embedded is stored; the next run does the "
            "rest."
        )


def _self_checks(store: Store, ledger: Ledger, matrices: Sequence[Matrix], started: float) -> dict[str, SelfCheck]:
    """By model, how near to what is stored the sample of its matrices came in this run, the worst if there are several,
    and what the same sample came to in earlier runs, the latest first."""
    models = {matrix.provenance.model for matrix in matrices}
    found: dict[str, SelfCheck] = {}
    for made in (matrix.provenance for matrix in store.manifest.matrices if matrix.provenance.model in models):
        *before, (when, compared, cosine) = ledger.runs.checks(made.fingerprint) or [(0.0, 0, 0.0)]
        if started <= when <= time.time():  # one from the future was made before the clock was put back
            earlier = tuple(round(then, 7) for at, _, then in reversed(before) if not started <= at <= when)
            told = SelfCheck(
                compared=compared, least_cosine=round(cosine, 7), sound=cosine >= LEAST_COSINE, before=earlier
            )
            if told.least_cosine <= found.get(made.model, told).least_cosine:
                found[made.model] = told
    return found


def coverage(store: Store, ledger: Ledger) -> dict[str, float]:
    """The share, by dataset, of the contents that some file holds now, or may, which have a vector there. Copies count
    once."""
    live = ledger.contents.live_rows(len(store))
    images = int(live.sum()) + ledger.contents.unread()
    return {
        matrix.published_name: int((store.embedded(matrix) & live).sum()) / images if images else 0.0
        for matrix in store.manifest.matrices
    }


def _new_since(ledger: Ledger, started: float) -> float:
    """From when on failures are new: none has told of those of a run that died."""
    last = ledger.runs.last_finished()
    return 0.0 if last is None else min(last, started)


def by_worker(done: Sequence[ShardReport]) -> dict[str, ShardReport]:
    """All that each worker did."""
    names = dict.fromkeys(report.worker for report in done)
    return {name: combined([report for report in done if report.worker == name]) for name in names}


def dry_run_report(
    job: Job, scan: Scan, pending: Mapping[str, int], scheduled: Schedule, room: Room, *, facts: int | None = None
) -> DryRunReport:  # fmt: skip
    """What a run would do now: for each model, how many of the images seen it would embed; who would, how long; and how
    much of the store's disk it takes."""
    return DryRunReport(
        store=os.fspath(job.store),
        images=SeenCount(seen=scan.seen),
        models={model: PendingCount(pending=images) for model, images in pending.items()},
        facts=None if facts is None else PendingCount(pending=facts),
        plan=str(scheduled),
        workers={
            share.worker: WorkerPlan(images=share.images, seconds=round(share.seconds)) for share in scheduled.shares
        },
        bytes_needed=room.needed,
        bytes_free=room.free,
        failure=scan.failure or (room.words(job.store) if room.lacking else ""),
        warnings=tuple(_some(scan.problems)),
    )


def _noted(total: ShardReport) -> list[str]:
    """What is wrong with files that were taken all the same."""
    return [
        f"{note}: {noted.images:,} taken all the same, as viewers show them, such as {', '.join(noted.examples)}"
        for note, noted in sorted(total.noted.items())
    ]


def _some(paths: Sequence[str]) -> list[str]:
    """The first of many paths with what is wrong with them, and how many there are beyond."""
    beyond = len(paths) - _PATHS
    return [*paths[:_PATHS], *([f"… and {beyond:,} more that could not be read."] if beyond > 0 else [])]


def _failure_rate(total: ShardReport) -> float:
    asked = total.read + len(total.unread)
    return (total.refused + len(total.unread)) / asked if asked else 0.0

"""The steps of a run, in order: the one place where a run is put together, whoever carries the steps out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pixelmill.models.base import ModelSpec
from pixelmill.progress import download_bar
from pixelmill.report.build import build, close, dry_run_report, late_report
from pixelmill.report.history import speeds
from pixelmill.report.model import DryRunReport, RunReport
from pixelmill.run.cluster import cluster_kept
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.left import take_in_left
from pixelmill.run.loaded import release_models
from pixelmill.run.orders import RunOrders
from pixelmill.run.prepare import Prepared, prepare
from pixelmill.run.preview import count_missing, plan_of, store_as_it_is
from pixelmill.run.results import WorkerReport
from pixelmill.run.room import room_for, vector_bytes
from pixelmill.run.rounds import Lost, Outcome, Start, share_out
from pixelmill.run.scan import Scan, scan_sources
from pixelmill.run.schedule import schedule_for
from pixelmill.run.share import do_here
from pixelmill.run.told import changed, found, planned
from pixelmill.run.turn import turn
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact_if_needed
from pixelmill.store.ledger import Ledger
from pixelmill.store.ledger_copy import ledger_to_try_on
from pixelmill.store.living import holding, keep
from pixelmill.store.rows import Changes
from pixelmill.watch.calls import doing
from pixelmill.watch.saying import saying
from pixelmill.watch.stopping import asked, heeded

log = logging.getLogger(__name__)


@saying("Looking at the sources", doing)
def discover_images(job: Job) -> Scan:
    """Record what the sources hold now; the images found wait under the scan's number, which `holding` takes over."""
    began = time.monotonic()
    with StoreWriter(job.store) as writer:
        writer.warn()
        scan = _scanned(job, writer.ledger)
        keep(writer.folder, scan.number)
        log.info("%s", found(scan.seen, time.monotonic() - began))
        return scan


def fetch_weights(spec: ModelSpec, cache: CacheSpec) -> str:
    """Fetch and verify the weights of one model, unless they are cached; their sha256. A bar shows it on a terminal."""
    said = ""

    def show(done: int, total: int | None) -> None:
        nonlocal said
        said = f"{done / 1e6:,.0f} MB of {total / 1e6:,.0f}" if total else f"{done / 1e6:,.0f} MB"
        progress(done, total)

    what = f"weights {spec.name}"
    with saying(f"Fetching {what}, unless they are here", lambda: said), download_bar(what) as progress:
        return cache.open().fetch(spec.weights, progress=show).sha256


@saying("Preparing models and plan", doing)
def plan_work(job: Job, scan: int) -> Prepared:
    """The matrix that each model fills, as far as this process can tell, and the shards of images that lack one; first,
    what the workers of runs that died had handed over is taken in."""
    with StoreWriter(job.store) as writer:
        taken_in, refused = take_in_left(job, writer)
        prepared = replace(prepare(job, writer, scan), taken_in=taken_in, refused=refused)
    log.info("%s", planned(prepared))
    return prepared


def embed_here(orders: RunOrders, intake: Intake) -> Lost:
    """Do everybody's share in this process. Nobody is lost: what goes wrong is raised."""
    do_here(orders, intake)
    return {}


@saying("Publishing")
def publish_changes(job: Job, fingerprints: Sequence[str]) -> Changes:
    """Publish moved and removed images, serve complete generations, keep the parts few; what has changed."""
    with StoreWriter(job.store) as writer:
        changes = writer.ledger.changes()
        log.info("%s", changed(changes))
        writer.update_locations(changes.stale_rows)
        writer.serve(fingerprints)
        if not asked():
            compact_if_needed(writer)
        return changes


@saying("Counting what was done, for the report")
def report_run(job: Job, scan: Scan, changes: Changes, outcome: Outcome, started: float) -> RunReport:
    """Count, settle and keep the report of a run that began at `started` (Unix seconds)."""
    with StoreWriter(job.store) as writer:
        report = build(
            job, writer.snapshot(), writer.ledger, scan, outcome.matrices, changes, outcome.reports,
            started=started, seconds=time.time() - started, warnings=writer.warnings, plan=outcome.schedule,
            lost=outcome.warnings,
        )  # fmt: skip
        return close(writer.ledger, scan, report, started)


def report_late(job: Job) -> RunReport:
    """Keep the report of a run that begins after its deadline, and does nothing else."""
    began = time.time()
    report = late_report(job, began)
    with StoreWriter(job.store) as writer:
        writer.ledger.runs.record(began, report.as_json(), is_finished=False)
    return report


@dataclass(frozen=True, slots=True)
class Steps:
    """How each step of a run is carried out: by default in this process, once. A flow hands in tasks, which are tried
    again and shown; `embed` is how workers are started."""

    discover: Callable[[Job], Scan] = discover_images
    fetch: Callable[[ModelSpec, CacheSpec], object] = fetch_weights
    plan: Callable[[Job, int], Prepared] = plan_work
    embed: Start = embed_here
    publish: Callable[[Job, Sequence[str]], Changes] = publish_changes
    report: Callable[[Job, Scan, Changes, Outcome, float], RunReport] = report_run


HERE = Steps()


def run(job: Job, steps: Steps = HERE) -> RunReport:
    """Find what is new or missing, embed it, publish, report.

    A run that comes while another is at work on the store waits for it. A signal while images are embedded ends it like
    its deadline; it has its effect when the report is kept. Raises WorkersLost, after the report, if work is left
    because those who did it were lost; StoreBusy if the deadline comes before its turn.
    """
    with turn(job.store, job.deadline):
        return _run(job, steps)


def _run(job: Job, steps: Steps) -> RunReport:
    started = time.time()
    scan = steps.discover(job)
    try:
        with holding(job.store, scan.number):
            for spec in job.specs:
                steps.fetch(spec, job.cache)
            prepared = steps.plan(job, scan.number)
            with cluster_kept(), heeded():
                outcome = share_out(job, scan.number, prepared, steps.embed, earlier=_earlier(job))
                changes = steps.publish(job, [matrix.provenance.fingerprint for matrix in outcome.matrices])
                report = steps.report(job, scan, changes, outcome, started)
    finally:
        release_models()
    outcome.check()
    return report


@saying("Looking what a run would do", doing)
def preview(job: Job) -> DryRunReport:
    """What a run would do. Nothing is written but a copy of the ledger in a temporary folder, which is thrown away."""
    store = store_as_it_is(job)
    with ledger_to_try_on(store) as ledger:
        scan = _scanned(job, ledger)
        pending = count_missing(job, ledger, store, scan.number)
        specs = {spec.name: spec for spec in job.specs}
        plan = plan_of(job, pending)
        schedule = schedule_for(job, speeds(ledger), specs, plan)
    vectors = [(images, vector_bytes(specs[model].dim, job.vector_dtype)) for model, images in pending.items()]
    room = room_for(plan, vectors, store.manifest if store else None, job.store)
    return dry_run_report(job, scan, pending, schedule, room)


def _scanned(job: Job, ledger: Ledger) -> Scan:
    return scan_sources(
        ledger, job.sources,
        paranoid=job.paranoid, threads=job.threads, max_bytes=job.max_bytes, deadline=job.deadline,
    )  # fmt: skip


def _earlier(job: Job) -> Sequence[dict[str, WorkerReport]]:
    """What the workers of a job did in earlier runs: by that it is shared out."""
    if job.fan_out != "workers":
        return ()
    with StoreWriter(job.store) as writer:
        return speeds(writer.ledger)

"""The steps of a run, in order: the one place where a run is put together, whoever carries the steps out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pixelmill.curation.nights import keep_up
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.told import Delivered
from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.errors import PixelmillError, StoreBusy, reason_of
from pixelmill.forgetting.forget import resume
from pixelmill.joining.join import join_columns
from pixelmill.models.base import ModelSpec
from pixelmill.progress import download_bar
from pixelmill.report.build import build, close, dry_run_report, keep, late_report
from pixelmill.report.cut_off import tell_of_cut_off
from pixelmill.report.history import speeds
from pixelmill.report.model import DryRunReport, RunReport
from pixelmill.run.beside import read_beside
from pixelmill.run.cluster import cluster_kept
from pixelmill.run.course import Course, Published
from pixelmill.run.deliveries import deliver_changes, make_all
from pixelmill.run.facts import reads_beside
from pixelmill.run.heads import Filled, fill_heads
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.left import take_in_left
from pixelmill.run.loaded import release_models
from pixelmill.run.models_left_out import Reasons, left_out, without
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.prepare import Prepared, prepare
from pixelmill.run.preview import count_facts, count_missing, plan_of, store_as_it_is
from pixelmill.run.results import WorkerReport
from pixelmill.run.room import FACTS_BYTES, room_for, vector_bytes
from pixelmill.run.rounds import Start, share_out
from pixelmill.run.scan import Scan, scan_sources
from pixelmill.run.schedule import schedule_for
from pixelmill.run.share import do_here
from pixelmill.run.told import changed, found, planned
from pixelmill.run.turn import turn
from pixelmill.sources.formats import SUPPORTED_SINCE
from pixelmill.store.column_writer import serve
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact_if_needed
from pixelmill.store.ledger import Ledger
from pixelmill.store.ledger_copy import ledger_to_try_on
from pixelmill.store.living import holding
from pixelmill.store.living import keep as keep_alive
from pixelmill.store.master import MASTER, home_of
from pixelmill.watch.calls import doing
from pixelmill.watch.saying import saying
from pixelmill.watch.stopping import asked, heeded

log = logging.getLogger(__name__)

_NOTHING_SEEN = Scan(0, 0, 0)
"""In place of the scan of a run that ended before it had seen its sources."""


@saying("Looking at the sources", doing)
def discover_images(job: Job, started: float) -> Scan:
    """Record what the sources hold now; the images found wait under the scan's number, which `holding` takes over. Runs
    that were killed get their report; should it be this one, it is on record that it began at `started`."""
    began, models = time.monotonic(), [spec.name for spec in job.specs]
    resume(job.store, job.handover_place)
    with StoreWriter(job.store) as writer:
        writer.warn()
        tell_of_cut_off(writer, started)
        runs, beside = writer.ledger.runs, reads_beside(job, writer.snapshot())
        scan = _scanned(job, writer.ledger, beside, on_begin=lambda number: runs.begin(started, number, models))
        runs.tell_seen(scan.number, scan.folders)
        keep_alive(writer.folder, scan.number)
        log.info("%s", found(scan.seen, time.monotonic() - began))
        return replace(scan, beside=read_beside(writer.ledger, deadline=job.deadline)) if beside else scan


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
        writer.ledger.quarantine.release_refused_for(SUPPORTED_SINCE)
        taken_in, refused = take_in_left(job, writer)
        prepared = replace(prepare(job, writer, scan), taken_in=taken_in, refused=refused)
    log.info("%s", planned(prepared))
    return prepared


def embed_here(orders: RunOrders, intake: Intake) -> Lost:
    """Do everybody's share in this process. Nobody is lost: what goes wrong is raised."""
    do_here(orders, intake)
    return {}


@saying("Publishing")
def publish_changes(job: Job, fingerprints: Sequence[str]) -> Published:
    """Publish moved and removed images, serve complete generations, join what is known of them, bring groups of
    look-alikes up to date, keep the parts few; what has changed."""
    with StoreWriter(job.store) as writer:
        changes = writer.ledger.changes()
        log.info("%s", changed(changes))
        writer.update_locations(changes.stale_rows)
        writer.serve(fingerprints)
        serve(writer, FACTS_GROUP.fingerprint)
        columns = join_columns(writer, job.tables, beside=job.beside is not False, deadline=job.deadline)
        warnings = keep_up(writer, job.deadline)
        if not asked():
            compact_if_needed(writer)
        return Published(changes, columns, warnings)


@saying("Counting what was done, for the report")
def report_run(job: Job, course: Course) -> RunReport:
    """Count, settle and keep the report of a run that has come to its end."""
    assert course.scan
    with StoreWriter(job.store) as writer:
        report = _counted(job, writer, course, course.scan)
        return close(writer.ledger, course.scan, report, course.started)


def report_end(job: Job, course: Course) -> RunReport | None:
    """Count and keep the report of a run that failed, or was stopped, before it came to its end; None where there is no
    store to keep it."""
    if not (home_of(job.store) / MASTER).exists():
        return None
    with StoreWriter(job.store) as writer:
        report = _counted(job, writer, course, course.scan or _NOTHING_SEEN, to_the_end=False)
        return keep(writer.ledger, report, course.started, to_the_end=False)


def _counted(job: Job, writer: StoreWriter, course: Course, scan: Scan, *, to_the_end: bool = True) -> RunReport:
    outcome, published = course.outcome, course.published
    report = build(
        job, writer.snapshot(), writer.ledger, scan, outcome.matrices, published.changes, outcome.reports,
        started=course.started, seconds=0.0, warnings=[*writer.warnings, *published.warnings],
        plan=outcome.schedule, lost=outcome.warnings, measured=outcome.measured, columns=published.columns,
        heads=course.heads, deliveries=course.deliveries, ended=course.ended, error=course.error, to_the_end=to_the_end,
    )  # fmt: skip
    seconds, steps = course.seconds()
    return report.model_copy(update={"seconds": seconds, "steps": steps})


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
    again and shown; `embed` is how workers are started. `show` is handed the report of a run that did not come to its
    end, and `stops` are the exceptions by which, beside those that are no `Exception`, somebody cancels it."""

    discover: Callable[[Job, float], Scan] = discover_images
    fetch: Callable[[ModelSpec, CacheSpec], object] = fetch_weights
    plan: Callable[[Job, int], Prepared] = plan_work
    embed: Start = embed_here
    publish: Callable[[Job, Sequence[str]], Published] = publish_changes
    heads: Callable[[Job], Filled] = fill_heads
    deliver: Callable[[Job, Delivery], Delivered] = deliver_changes
    report: Callable[[Job, Course], RunReport] = report_run
    show: Callable[[Job, RunReport], object] = lambda _job, _report: None
    stops: tuple[type[BaseException], ...] = ()


HERE = Steps()


def run(job: Job, steps: Steps = HERE) -> RunReport:
    """Find what is new or missing, embed it, publish, fill heads, deliver; however it ends, a report is left of it.

    A run that comes while another is at work on the store waits for it. A signal while images are embedded ends it like
    its deadline; it has its effect when the report is kept. Raises, after the report, WorkersLost if work is left
    because those who did it were lost, and ModelsLeftOut if it is that of models that cannot be had; StoreBusy if the
    deadline comes before its turn.
    """
    course = Course()
    with ExitStack() as until_then:
        until_then.callback(release_models)
        try:
            return _carried_out(job, steps, course, until_then)
        except BaseException as error:
            if not course.is_told:
                _tell(job, steps, course, error)
            raise


def _carried_out(job: Job, steps: Steps, course: Course, until_then: ExitStack) -> RunReport:
    """The report, once it is kept. `until_then` ends when there is nothing more to tell."""
    with course.step("turn"):
        until_then.enter_context(turn(job.store, job.deadline))
    with course.step("discover"):
        scan = course.scan = steps.discover(job, course.started)
    until_then.enter_context(holding(job.store, scan.number))
    with course.step("weights"):
        course.outcome.models_left_out = _fetched(job, steps)
    with course.step("plan"):
        prepared = steps.plan(without(job, course.outcome.models_left_out), scan.number)
        course.outcome.begin(prepared)
    with cluster_kept(), heeded():
        with course.step("embed"):
            able = without(job, course.outcome.models_left_out)
            share_out(able, scan.number, prepared, steps.embed, earlier=_earlier(job), outcome=course.outcome)
        with course.step("publish"):
            course.published = steps.publish(job, [matrix.provenance.fingerprint for matrix in course.outcome.matrices])
        if job.heads:
            with course.step("heads"):
                course.heads = steps.heads(job)
        if job.deliveries:
            with course.step("deliver"):
                make_all(job, steps.deliver, course.deliveries)
        undone = course.outcome.undone()
        course.end(undone, is_cancelled=asked())
        with course.step("report"):
            report = steps.report(job, course)
            course.is_told = True
    if undone:
        undone.report = report
        raise undone
    return report


def _fetched(job: Job, steps: Steps) -> Reasons:
    """Fetch the weights of all models; why those are left out that cannot be had. Raises the first one's error where
    none can."""
    failed: dict[str, Exception] = {}
    for spec in job.specs:
        try:
            steps.fetch(spec, job.cache)
        except (PixelmillError, OSError) as error:
            failed[spec.name] = error
    return left_out(job, failed)


def _tell(job: Job, steps: Steps, course: Course, error: BaseException) -> None:
    """Leave the report of a run that `error` ends. What goes wrong with that stays beside it."""
    course.end(error, is_cancelled=isinstance(error, steps.stops) or not isinstance(error, Exception))
    if isinstance(error, StoreBusy) and len(course.took) > 1:  # who has waited that long for a lock does not wait again
        return
    try:
        if report := report_end(job, course):
            steps.show(job, report)
    except Exception as failed:
        log.warning("The report of this run could not be kept: %s", reason_of(failed))


@saying("Looking what a run would do", doing)
def preview(job: Job) -> DryRunReport:
    """What a run would do. Nothing is written but a copy of the ledger in a temporary folder, which is thrown away."""
    store = store_as_it_is(job)
    with ledger_to_try_on(store) as ledger:
        scan = _scanned(job, ledger, reads_beside(job, store))
        pending = count_missing(job, ledger, store, scan.number)
        facts = count_facts(job, ledger, store, scan.number)
        specs = {spec.name: spec for spec in job.specs}
        plan = plan_of(job, pending)
        schedule = schedule_for(job, speeds(ledger), specs, plan)
    vectors = [(images, vector_bytes(specs[model].dim, job.vector_dtype)) for model, images in pending.items()]
    vectors += [(facts, FACTS_BYTES)] if facts else []
    room = room_for(plan, vectors, store.manifest if store else None, job.store)
    return dry_run_report(job, scan, pending, schedule, room, facts=facts)


def _scanned(job: Job, ledger: Ledger, beside: bool, *, on_begin: Callable[[int], object] = lambda _scan: None) -> Scan:
    return scan_sources(
        ledger, job.sources, paranoid=job.paranoid, threads=job.threads, max_bytes=job.max_bytes,
        deadline=job.deadline, on_begin=on_begin, beside=beside,
    )  # fmt: skip


def _earlier(job: Job) -> Sequence[dict[str, WorkerReport]]:
    """What the workers of a job did in earlier runs: by that it is shared out."""
    if job.fan_out != "workers":
        return ()
    with StoreWriter(job.store) as writer:
        return speeds(writer.ledger)

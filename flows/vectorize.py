"""The nightly run: find what is new or missing, embed it, publish, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.exceptions import CancelledRun

from flows._begin import begin
from flows._due import due_from
from flows._ends import previewed, reported
from flows._form import Count, Deadline, Decode, Device, Models, Precision, Switch, Text, Texts, as_form
from flows._labels import label_run, run_name
from flows._start import check_server
from flows._stopping import cancelled_in_order
from flows._workers import cancel_workers, run_workers
from pixelmill.report.model import DryRunReport, RunReport
from pixelmill.run.cluster import run_on_cluster
from pixelmill.run.intake import Intake
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.preflight import check_devices
from pixelmill.run.share import do_here
from pixelmill.run.steps import Steps, preview, run
from pixelmill.version import VERSION
from pixelmill.watch.clocks import past
from pixelmill.watch.exit import ending_after
from settings import load_settings
from settings.job import make_job
from tasks._progress import progress_of, shown
from tasks.deliver import deliver_changes
from tasks.discover import discover_images
from tasks.embed import embed_shard
from tasks.heads import fill_heads
from tasks.plan import plan_work
from tasks.publish import publish_changes
from tasks.report import report_late, report_run, show_report
from tasks.weights import fetch_weights


@as_form
@flow(
    name="vectorize", version=VERSION, flow_run_name=run_name,
    on_cancellation=[cancel_workers], on_crashed=[cancel_workers], on_failure=[cancel_workers],
)  # fmt: skip
@cancelled_in_order
def vectorize(
    sources: Texts = None,
    models: Models = None,
    store: Text = None,
    device: Device = None,
    batch_size: Count = None,
    precision: Precision = None,
    decode: Decode = None,
    deadline: Deadline = None,
    paranoid: Switch = None,
    facts: Switch = None,
    dry_run: bool = False,
    config: Text = None,
) -> RunReport | DryRunReport:
    """Embed what is new or missing of the images in `sources` with each of `models`, into the HDF5 store.

    Args:
        sources: Files, folders (with all that is below) or @lists of paths. Empty: those of the settings.
        models: One or more, in the order of ensembles. To begin with: efficientnet_lite0 (1,280 dims, 19 MB, comes
            along), openai_clip_vit_b32 (512 dims, 354 MB), open_clip_vit_l14_laion2b (768 dims, 1.7 GB),
            open_clip_vit_h14_laion2b (1,024 dims, 3.9 GB). Empty: those of the settings.
        store: The folder of the store; made if need be. Empty: that of the settings.
        device: Where the models run; auto is the first GPU, else the CPU. Empty: as in the settings.
        batch_size: Images a model takes at once; halved when they do not fit the device. Empty: as in the settings.
        precision: What the models compute in; auto measures which is fastest. Empty: as in the settings.
        decode: fast, or reference for upstream's own preprocessing. Empty: as the store's matrix was made.
        deadline: When to stop, as 06:00 or 90m; the next run does the rest. Empty: as in the settings.
        paranoid: Also read and hash the files whose size and times are unchanged. Untouched: as in the settings.
        facts: Make columns of what cameras wrote and pixels are like. Untouched: as in the settings, else in new stores
            and in those that have them.
        dry_run: Only tell what would be done.
        config: The settings file. Empty: pixelmill.toml.
    """
    begin()
    flags: dict[str, Any] = {
        "models": tuple(models) if models else None, "store": store, "device": device, "batch_size": batch_size,
        "precision": precision, "decode": decode, "deadline": deadline, "paranoid": paranoid,
        "facts": facts,
    }  # fmt: skip
    settings, night = load_settings(Path(config) if config else None, {"run": flags}), due_from()
    job = make_job(settings, sources or (), due_from=night)
    label_run(job, dry_run=dry_run)
    if dry_run:
        told = preview(job)
        show_report(job, told)
        return previewed(told)
    if night and past(job.deadline):
        return reported(report_late(job), job)
    check_server(job)
    check_devices(job)
    with ending_after(job.deadline), progress_of(job.store):
        return reported(run(job, AS_TASKS), job)


def start_workers(orders: RunOrders, intake: Intake) -> Lost:
    """Have orders carried out by this process, Prefect workers or a cluster, as their job says."""
    if orders.job.fan_out == "workers":
        with shown(orders.all_images()):
            return run_workers(orders, intake)
    if orders.job.fan_out == "inline":
        do_here(orders, intake, embed=embed_shard, show=shown)
        return {}
    with shown(orders.images(orders.job.fan_out)):
        return run_on_cluster(orders, intake)


AS_TASKS = Steps(
    discover=discover_images, fetch=fetch_weights, plan=plan_work, embed=start_workers, publish=publish_changes,
    heads=fill_heads, deliver=deliver_changes, report=report_run, show=show_report, stops=(CancelledRun,),
)  # fmt: skip
"""The steps of a run as tasks of Prefect: tried again, and shown in its UI."""

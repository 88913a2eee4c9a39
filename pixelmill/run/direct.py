"""A run in this process, from the first step to the last: tried again where that may help, and watched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from pixelmill.embedding.progress import telling
from pixelmill.errors import SettingsError
from pixelmill.progress import embedding_bars, step_shown
from pixelmill.proxies import check_proxies
from pixelmill.report.model import RunReport
from pixelmill.run import steps
from pixelmill.run.cluster import run_on_cluster
from pixelmill.run.deliveries import deliver_changes
from pixelmill.run.heads import fill_heads
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.preflight import check_devices
from pixelmill.run.retries import DELIVERY, DOWNLOAD, SHARD, STORE
from pixelmill.run.scan import Scan
from pixelmill.run.share import do_here, embed_and_store
from pixelmill.run.steps import Steps
from pixelmill.watch.calls import doing
from pixelmill.watch.exit import ending_after

P = ParamSpec("P")
T = TypeVar("T")


def run_here(job: Job) -> RunReport:
    """Carry out a run in this process and report it, as `pixelmill run` does; on a terminal, show how far it is.

    A step that fails is tried again where that may help. This process ends if the run cannot, long after its deadline.
    Raises SettingsError for a job that is for others to do, or a proxy that cannot be used; DeviceUnavailable,
    SourceError, WeightsError, StoreError and WorkersLost for what the run cannot do.
    """
    refuse_workers(job)
    check_proxies(os.environ)
    check_devices(job)
    with ending_after(job.deadline):
        return steps.run(job, here())


def refuse_workers(job: Job) -> None:
    """Raises SettingsError for a job that Prefect workers are to do: it is Prefect that starts those."""
    if job.fan_out == "workers":
        raise SettingsError(
            'Expected fan_out = "inline", "dask" or "ray" for a run without Prefect. Got "workers", which Prefect '
            "starts: run by Prefect (`pixelmill run --prefect`), or fan out inline (PIXELMILL_RUN__FAN_OUT=inline)."
        )


def here() -> Steps:
    """The steps of a run as they are carried out in this process."""
    return Steps(
        discover=STORE.around(_discover, "looking at the sources"),
        fetch=DOWNLOAD.around(steps.fetch_weights, "fetching weights"),
        plan=STORE.around(_shown("Preparing models and plan", steps.plan_work), "preparing models and plan"),
        embed=_embed,
        publish=STORE.around(_shown("Publishing", steps.publish_changes), "publishing"),
        heads=STORE.around(_shown("Filling the columns of heads", fill_heads), "filling the columns of heads"),
        deliver=DELIVERY.around(deliver_changes, "delivering"),
        report=STORE.around(_shown("Reporting", steps.report_run), "reporting"),
    )


def _embed(orders: RunOrders, intake: Intake) -> Lost:
    if orders.job.fan_out == "inline":
        do_here(orders, intake, embed=SHARD.around(embed_and_store, "embedding a shard"), show=_bars)
        return {}
    with _bars(orders.images(orders.job.fan_out)):
        return run_on_cluster(orders, intake)


@contextmanager
def _bars(totals: Mapping[str, int]) -> Iterator[None]:
    with embedding_bars(totals) as advance, telling(advance):
        yield


def _discover(job: Job, started: float) -> Scan:
    seen = 0

    def count(_: str, images: int) -> None:
        nonlocal seen
        seen += images

    with step_shown("Looking at the sources", lambda: f"{seen:,} images, {doing()}"), telling(count):
        return steps.discover_images(job, started)


def _shown(what: str, step: Callable[P, T]) -> Callable[P, T]:
    """`step`, and on a terminal what it is about and what it is at."""

    @wraps(step)
    def shown(*args: P.args, **kwargs: P.kwargs) -> T:
        with step_shown(what, doing):
            return step(*args, **kwargs)

    return shown

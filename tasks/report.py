"""Tell what a run did, in the store and in the Prefect UI."""

from __future__ import annotations

import logging

import httpx
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from pixelmill.formatting import printable
from pixelmill.report.markdown import as_markdown
from pixelmill.report.model import DryRunReport, RunReport
from pixelmill.report.pictures import SECONDS, sheet_of
from pixelmill.report.sheet import Sheet
from pixelmill.report.text import headline
from pixelmill.run import steps
from pixelmill.run.course import Course
from pixelmill.run.job import Job
from pixelmill.run.retries import STORE
from pixelmill.store.reader import Store
from tasks._artifacts import key_of, not_needed
from tasks._assets import asset_key, materialized, matrices
from tasks._progress import end
from tasks._retries import tried_again

log = logging.getLogger("pixelmill.tasks")

STOPPED_SECONDS = 3.0
GALLERY_SECONDS = 5.0
"""A gallery that does not answer for so long is down."""


@task(name="report", cache_policy=NO_CACHE, **tried_again(STORE))
def report_run(job: Job, course: Course) -> RunReport:
    """Count, settle and keep the report of a run; it is also an artifact of the flow run."""
    report = steps.report_run(job, course)
    show_report(job, report)
    end(report)
    with not_needed("assets"):
        store = Store(job.store)
        made = matrices(report, store.manifest.matrices, len(store), url_for("flow-run", flow_run.id))
        materialized(made, map(asset_key, job.sources))
    return report


@task(name="report", cache_policy=NO_CACHE, **tried_again(STORE))
def report_late(job: Job) -> RunReport:
    """Keep the report of a run that begins after its deadline; it is also an artifact of the flow run."""
    report = steps.report_late(job)
    show_report(job, report)
    return report


def show_report(job: Job, report: RunReport | DryRunReport) -> None:
    """Make artifacts of a report, and of the gallery's address if the settings have one and it is up."""
    log.info("%s", headline(report))
    store = f"Store {printable(report.store)}"
    gallery = job.gallery if job.gallery and answers(job.gallery) else None
    sheet = _sheet(job, report) if isinstance(report, RunReport) else Sheet()
    with not_needed("report"):
        create_markdown_artifact(
            as_markdown(report, gallery, sheet), key=key_of("report", job.store), description=store
        )
        if gallery:
            create_link_artifact(
                gallery, link_text="The gallery", key=key_of("gallery", job.store), description="Search the images"
            )


def _sheet(job: Job, report: RunReport) -> Sheet:
    """The pictures of a report; a run that somebody stopped is not held up long by them."""
    return sheet_of(report, job.decode_options("fast"), SECONDS if report.ended == "done" else STOPPED_SECONDS)


def answers(address: str) -> bool:
    """Whether something is there, whatever it says: one that asks who you are is up as well."""
    try:
        httpx.get(address, timeout=GALLERY_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return True

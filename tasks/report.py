"""Tell what a run did, in the store and in the Prefect UI."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from pixelmill.job import Job
from pixelmill.report import Report, as_markdown, make_report
from pixelmill.scan import Scan
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Changes
from pixelmill.store.manifest import Matrix
from pixelmill.work import ShardReport


@task(name="report", cache_policy=NO_CACHE)
def report_run(
    job: Job, scan: Scan, matrices: Sequence[Matrix], changes: Changes, done: Sequence[ShardReport],
    started: float, warnings: Sequence[str],
) -> Report:  # fmt: skip
    """Count, settle and keep the report of a run; it is also an artifact of the flow run."""
    with StoreWriter(job.store) as writer:
        report = make_report(
            job, writer, scan, matrices, changes, done,
            started=started, seconds=time.time() - started, warnings=warnings,
        )  # fmt: skip
    create_markdown_artifact(as_markdown(report), key="report", description="What the run did")
    return report

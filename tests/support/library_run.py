"""A whole run without Prefect: the steps of flows/vectorize.py, called directly."""

from __future__ import annotations

import time

from pixelmill.report.build import build, close
from pixelmill.report.model import RunReport
from pixelmill.run.job import Job
from pixelmill.run.loaded import release_models
from pixelmill.run.prepare import prepare
from pixelmill.run.scan import scan_sources
from pixelmill.run.worker import embed_shard
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact_if_needed


def run(job: Job) -> RunReport:
    """Discover, plan, embed, publish, report."""
    started = time.time()
    release_models()
    with StoreWriter(job.store) as writer:
        scan = scan_sources(
            writer.ledger, job.sources,
            paranoid=job.paranoid, threads=job.threads, max_bytes=job.max_bytes, deadline=job.deadline,
        )  # fmt: skip
        matrices, plan = prepare(job, writer, scan.number)
        done = [embed_shard(job, writer, matrices, scan.number, shard) for shard in plan.shards]
        changes = writer.ledger.changes()
        writer.update_locations(changes.stale_rows)
        writer.serve([matrix.provenance.fingerprint for matrix in matrices])
        compact_if_needed(writer)
        report = build(
            job, writer.snapshot(), writer.ledger, scan, matrices, changes, done,
            started=started, seconds=1.0, warnings=writer.warnings,
        )  # fmt: skip
        return close(writer.ledger, scan, report, started)

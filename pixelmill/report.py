"""What a run did, in the form that `run --json` prints and the store keeps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pixelmill.job import Job
from pixelmill.plan import make_plan
from pixelmill.scan import Scan
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.settlement import Changes
from pixelmill.work import ShardReport

Report = dict[str, Any]


def make_report(
    job: Job, writer: StoreWriter, scan: Scan, matrices: Sequence[Matrix], changes: Changes, done: ShardReport, *,
    started: float, seconds: float,
) -> Report:  # fmt: skip
    """The report of a finished run: counts of images and, for each model, of vectors. The ledger settles and keeps it.

    `embedded` counts this run's vectors; `quarantined` and `pending` what of the images seen is so now.
    """
    store, ledger = writer.snapshot(), writer.ledger
    fingerprints = [matrix.provenance.fingerprint for matrix in matrices]
    plan = make_plan(ledger, store, matrices, scan.number, job.shard_size)
    report: Report = {
        "store": os.fspath(job.store),
        "seconds": round(seconds, 1),
        "images": {
            "seen": scan.seen,
            "new": changes.new,
            "changed": changes.changed,
            "moved": changes.moved,
            "duplicate": changes.duplicate,
            "removed": changes.removed,
            "quarantined": ledger.quarantined_seen(scan.number, fingerprints),
        },
        "models": {m.provenance.model: _model(job, m, plan.pending, done) for m in matrices},
        "bottleneck": done.timing.bottleneck,
        "warnings": [*writer.warnings, *scan.problems, *done.unread],
    }
    ledger.settle()
    ledger.forget_scan(scan.number)
    ledger.record_run(started, report)
    return report


def _model(job: Job, matrix: Matrix, pending: dict[str, int], done: ShardReport) -> dict[str, Any]:
    made = matrix.provenance
    embedded = done.embedded.get(made.model, 0)
    return {
        "embedded": embedded,
        "pending": pending[made.fingerprint],
        "dim": made.dim,
        "device": done.devices.get(made.model, job.devices.get(made.model, job.device)),
        "precision": made.precision,
        "decode": made.decode,
        "images_per_second": round(embedded / done.seconds, 1) if embedded else 0.0,
    }


def dry_run_report(job: Job, scan: Scan, pending: dict[str, int]) -> Report:
    """What a run would do now: for each model, how many of the images seen it would embed."""
    return {
        "store": os.fspath(job.store),
        "dry_run": True,
        "images": {"seen": scan.seen},
        "models": {model: {"pending": images} for model, images in pending.items()},
        "warnings": list(scan.problems),
    }


def failure_rate(done: ShardReport) -> float:
    """The share of the images read in this run that were refused."""
    return done.refused / done.read if done.read else 0.0


def as_markdown(report: Report) -> str:
    """A report as people read it in the Prefect UI."""
    images = ", ".join(f"{number:,} {name}" for name, number in report["images"].items())
    lines = [
        f"# {report['store']}",
        "",
        f"{images}; {report['seconds']:,} s; bottleneck: {report['bottleneck'] or 'nothing to do'}.",
        "",
        "| model | embedded | pending | dim | device | precision | decode | images/s |",
        "|---|---:|---:|---:|---|---|---|---:|",
    ]
    for name, m in report["models"].items():
        cells = (name, f"{m['embedded']:,}", f"{m['pending']:,}", m["dim"], m["device"], m["precision"], m["decode"])
        lines.append(f"| {' | '.join(map(str, cells))} | {m['images_per_second']:,} |")
    if report["warnings"]:
        lines += ["", "Warnings:", "", *(f"- `{warning}`" for warning in report["warnings"])]
    return "\n".join(lines)

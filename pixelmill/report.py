"""What a run did, in the form that `run --json` prints and the store keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pixelmill.assign import Assignment
from pixelmill.job import Job
from pixelmill.plan import count_pending
from pixelmill.scan import Scan
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.settlement import Changes
from pixelmill.work import ShardReport, combined

Report = dict[str, Any]


def make_report(
    job: Job, writer: StoreWriter, scan: Scan, matrices: Sequence[Matrix], changes: Changes,
    done: Sequence[ShardReport], *, started: float, seconds: float, warnings: Sequence[str] = (),
) -> Report:  # fmt: skip
    """The report of a finished run: counts of images and, for each model, of vectors. The ledger settles and keeps it.

    `done` is what the workers did, shard by shard. `embedded` counts this run's vectors; `quarantined` and `pending`
    what of the images seen is so now.
    """
    total = combined(done)
    workers = by_worker(done)
    store, ledger = writer.snapshot(), writer.ledger
    fingerprints = [matrix.provenance.fingerprint for matrix in matrices]
    pending = count_pending(ledger, store, matrices, scan.number)
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
        "models": {m.provenance.model: _model(job, m, pending, total, workers) for m in matrices},
        "bottleneck": total.timing.bottleneck,
        "warnings": [*warnings, *writer.warnings, *scan.problems, *total.unread, *dict.fromkeys(total.warnings)],
        "workers": {name: _worker(did) for name, did in workers.items()},
    }
    ledger.settle()
    ledger.forget_scan(scan.number)
    ledger.record_run(started, report)
    return report


def by_worker(done: Sequence[ShardReport]) -> dict[str, ShardReport]:
    """All that each worker did."""
    names = dict.fromkeys(report.worker for report in done)
    return {name: combined([report for report in done if report.worker == name]) for name in names}


def _model(
    job: Job, matrix: Matrix, pending: Mapping[str, int], total: ShardReport, workers: Mapping[str, ShardReport]
) -> dict[str, Any]:
    made = matrix.provenance
    speeds = [did.embedded.get(made.model, 0) / did.seconds for did in workers.values() if did.seconds]
    return {
        "embedded": total.embedded.get(made.model, 0),
        "pending": pending.get(made.fingerprint, 0),
        "dim": made.dim,
        "device": total.devices.get(made.model, job.devices.get(made.model, job.device)),
        "precision": made.precision,
        "decode": made.decode,
        "images_per_second": round(sum(speeds), 1),
    }


def _worker(did: ShardReport) -> dict[str, Any]:
    """What `Pace` learns from: reading is what all threads together took."""
    seconds = did.timing.models
    return {
        "images": did.read,
        "seconds": round(did.seconds, 3),
        "reading_seconds": round((did.timing.read + did.timing.decode) / did.threads, 3),
        "models": {
            model: {"device": did.devices[model], "images": images, "seconds": round(seconds.get(model, 0.0), 3)}
            for model, images in did.embedded.items()
        },
    }


def dry_run_report(job: Job, scan: Scan, pending: dict[str, int], assignment: Assignment) -> Report:
    """What a run would do now: for each model, how many of the images seen it would embed; who would, how long."""
    return {
        "store": os.fspath(job.store),
        "dry_run": True,
        "images": {"seen": scan.seen},
        "models": {model: {"pending": images} for model, images in pending.items()},
        "plan": str(assignment),
        "workers": {
            share.worker: {"images": share.images, "seconds": round(share.seconds)} for share in assignment.shares
        },
        "warnings": list(scan.problems),
    }


def failure_rate(done: Sequence[ShardReport]) -> float:
    """The share of the images read in this run that were refused."""
    total = combined(done)
    return total.refused / total.read if total.read else 0.0


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

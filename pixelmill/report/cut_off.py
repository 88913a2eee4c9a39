"""Runs that were killed before they could say a word: their report, from what is on record of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime

from pixelmill.formatting import moment, number_of
from pixelmill.plan import NO_MATRIX, count_pending
from pixelmill.report.model import ImageCounts, ModelReport, RunReport
from pixelmill.store.commit import StoreWriter
from pixelmill.store.filesystem import clock
from pixelmill.store.ledger import Ledger
from pixelmill.store.living import lives
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.runs import Begun


def tell_of_cut_off(writer: StoreWriter, started: float) -> None:
    """Keep the report of each run that was killed; that of the run which began at `started`, and lives, says so."""
    runs = writer.ledger.runs
    for begun in _dead(writer.ledger, clock(writer.folder)):
        if begun.started == started:
            continue
        report = _report(writer.ledger, writer.snapshot(), begun)
        if runs.record(begun.started, report.as_json(), is_finished=False):
            runs.notify(f"The run of {moment(report.started)} was cut off. {report.error}")


def last_cut_off(ledger: Ledger, store: Store) -> RunReport | None:
    """The report of the last run that was killed, if none has kept it yet. Nothing is written."""
    dead = list(_dead(ledger, time.time()))
    return _report(ledger, store, dead[-1]) if dead else None


def _dead(ledger: Ledger, now: float) -> Iterator[Begun]:
    for begun in ledger.runs.begun():
        if not lives(ledger.path.parent, begun.scan, now=now):
            yield begun


def _report(ledger: Ledger, store: Store, begun: Begun) -> RunReport:
    """What is known: what was seen of the sources, which vectors are stored, and what still waits."""
    filled = {name: _matrix(store, name) for name in begun.models}
    found = [matrix for matrix in filled.values() if matrix]
    pending = count_pending(ledger, store, found, begun.scan, and_new=len(found) < len(filled))
    fingerprints = [matrix.provenance.fingerprint for matrix in found]
    seconds = round(max(begun.last - begun.started, 0.0), 1)
    stored = number_of(sum(begun.embedded.values()), "vector")
    return RunReport(
        store=os.fspath(store.folder),
        started=_iso(begun.started),
        seconds=seconds,
        ended="cut off",
        error=(
            f"It ended without a word, killed or with its machine; last heard of {moment(_iso(begun.last))}, when "
            f"{stored} of it had been stored."
        ),
        steps={"rest": seconds},
        sources=dict(begun.sources),
        images=ImageCounts(
            seen=ledger.scans.seen(begun.scan), new=0, changed=0, moved=0, duplicate=0, removed=0,
            quarantined=ledger.quarantine.seen(begun.scan, fingerprints),
        ),
        models={
            name: _model(ledger, begun, matrix, name, pending[matrix.provenance.fingerprint if matrix else NO_MATRIX])
            for name, matrix in filled.items()
        },
    )  # fmt: skip


def _model(ledger: Ledger, begun: Begun, matrix: Matrix | None, name: str, pending: int) -> ModelReport:
    made = matrix.provenance if matrix else None
    return ModelReport(
        embedded=begun.embedded.get(name, 0),
        pending=pending,
        quarantined=ledger.quarantine.seen(begun.scan, [made.fingerprint] if made else []),
        dim=made.dim if made else 0,
        device="",
        precision=made.precision if made else "",
        decode=made.decode if made else "",
        images_per_second=0.0,
        dataset=matrix.published_name if matrix else name,
    )


def _matrix(store: Store, model: str) -> Matrix | None:
    """The matrix that a run fills with a model, as far as its name tells: the newest."""
    return next((m for m in reversed(store.manifest.matrices) if m.provenance.model == model), None)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")

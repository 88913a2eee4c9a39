"""A worker: one process, its models loaded once, shards taken one by one and committed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from pixelmill.choices import Decode
from pixelmill.embedding.shard import Result
from pixelmill.embedding.targets import Guarded, MissingMatrices, Target
from pixelmill.errors import StoreError
from pixelmill.pipeline import Pipeline
from pixelmill.plan import Coverage, Shard
from pixelmill.run.drift import Measured
from pixelmill.run.job import Job
from pixelmill.run.loaded import loaded_model
from pixelmill.run.results import Noted, ShardReport, added, combined, this_process
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact_if_needed
from pixelmill.store.manifest import Matrix
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import Unanswered, model_hangs

_RETRY_DELAYS = (1.0, 4.0)
"""Seconds before files that could not be read are tried again."""


def embed_shard(
    job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int, shard: Shard, *, worker: str = "inline"
) -> ShardReport:
    """Embed what the images of a shard lack, and commit it. Doing a shard twice does nothing the second time.

    It ends after the batch at hand when the deadline is over; what was embedded by then is committed. So it does when
    the model hangs; after that nothing more is embedded in this process.
    """
    reports = []
    ordered = sorted(matrices, key=lambda matrix: matrix.provenance.decode)
    for decode, group in groupby(ordered, key=lambda matrix: matrix.provenance.decode):
        if not model_hangs():
            reports.append(_embed_group(job, writer, list(group), decode, scan, shard, worker))
    begin("store", os.fspath(job.store))
    compact_if_needed(writer)
    did = combined(reports)
    hung = tuple(replace(hang, worker=worker) for hang in did.hung)
    return replace(did, worker=worker, threads=job.threads, place=this_process(), hung=hung)


def _embed_group(
    job: Job,
    writer: StoreWriter,
    matrices: Sequence[Matrix],
    decode: Decode,
    scan: int,
    shard: Shard,
    worker: str,
) -> ShardReport:
    start = time.perf_counter()
    try:
        targets = answer(partial(_ready_targets, job, writer, matrices, scan, shard, worker), deadline=job.deadline)
    except Unanswered as silent:
        return ShardReport(hung=(silent.hang,), seconds=time.perf_counter() - start)
    pipeline = Pipeline(targets, job.decode_options(decode), batch_size=job.batch_size, threads=job.threads)
    files, missing = _shard_files(writer, matrices, scan, shard)
    measured = Measured(writer, targets, worker)
    result = _run(job, pipeline, files, missing)
    report, hung = _committed(job, measured, result), {hang.what for hang in result.hung}
    for delay in _RETRY_DELAYS:
        again = [file for file, _ in result.unread if file.absolute not in hung]
        if not again or past(job.deadline) or report.is_stuck:
            break
        time.sleep(delay)
        left = [told for told in result.unread if told[0].absolute in hung]
        result = _run(job, pipeline, again, missing)
        result.unread += left
        report = replace(combined([report, _committed(job, measured, result)]), unread=_told(result))
        hung |= {hang.what for hang in result.hung}
    devices = {target.model.spec.name: str(target.model.device) for target in pipeline.targets}
    doubts = tuple(doubt for target in pipeline.targets for doubt in target.model.doubts)
    return replace(report, devices=devices, warnings=(*report.warnings, *doubts), seconds=time.perf_counter() - start)


def _ready_targets(
    job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int, shard: Shard, worker: str
) -> Sequence[Target]:
    """The models of a shard, loaded; if something is to embed, they make what their matrices hold."""
    targets = _targets(job, matrices)
    if _shard_files(writer, matrices, scan, shard)[0]:
        Measured(writer, targets, worker).require()
    return targets


def _run(job: Job, pipeline: Pipeline, files: Sequence[FoundFile], missing: MissingMatrices) -> Result:
    """What a pipeline makes of files; of what it made, if a model hangs."""
    try:
        return answer(lambda: pipeline.run(files, missing, stop=lambda: past(job.deadline)), deadline=job.deadline)
    except Unanswered as silent:
        result = pipeline.so_far()
        result.hung.append(silent.hang)
        return result


def _targets(job: Job, matrices: Sequence[Matrix]) -> list[Target]:
    cache = job.cache.open()
    specs = {spec.name: spec for spec in job.specs}
    targets = []
    for matrix in matrices:
        spec = specs[matrix.provenance.model]
        begin("load", spec.name)
        model = loaded_model(job, spec, cache.fetch_model(spec), matrix.provenance.precision)
        targets.append(Target(model, matrix.provenance.fingerprint))
    return targets


def _shard_files(
    writer: StoreWriter, matrices: Sequence[Matrix], scan: int, shard: Shard
) -> tuple[list[FoundFile], MissingMatrices]:
    if not writer.ledger.worklist.has_plan(scan, shard.first, shard.images):
        raise StoreError(
            f"Expected the plan of run {scan} in the ledger of {writer.folder}. It is not there any more: was the "
            "store repaired, or put back from a backup? What was embedded is stored; the next run does the rest."
        )
    coverage = Coverage(writer.snapshot(), writer.ledger, matrices)
    planned = writer.ledger.worklist.planned(scan, shard.first, shard.images)
    files = [file for file, row in planned if coverage.lacking(row)]
    return files, Guarded(lambda sha256: coverage.lacking(writer.ledger.contents.row_of(sha256)))


def _stored(job: Job, measured: Measured, result: Result) -> tuple[str, ...]:
    """Store what a shard gave. A model that hangs would hang again, should it have to be compared first."""
    commit = partial(measured.commit, result.rows)
    return answer(commit, deadline=job.deadline) if model_hangs() else commit()


def _committed(job: Job, measured: Measured, result: Result) -> ShardReport:
    begin("store", os.fspath(job.store))
    try:
        warnings = _stored(job, measured, result)
    except Unanswered as silent:
        return ShardReport(read=result.read, timing=result.timing, hung=(*result.hung, silent.hang))
    names = {target.fingerprint: target.model.spec.name for target in measured.targets}
    return ShardReport(
        read=result.read,
        refused=len({failure.path for failure in result.rows.failures}),
        embedded={names[f]: len(vectors.index) for f, vectors in result.rows.vectors.items()},
        timing=result.timing,
        unread=_told(result),
        warnings=warnings,
        noted=_noted(result),
        hung=tuple(result.hung),
    )


def _noted(result: Result) -> dict[str, Noted]:
    noted: dict[str, Noted] = {}
    for file, note in result.noted:
        noted = added(noted, {note: Noted(1, (file.absolute,))})
    return noted


def _told(result: Result) -> tuple[str, ...]:
    return tuple(f"{file.absolute}: {reason}" for file, reason in result.unread)

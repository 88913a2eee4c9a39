"""A worker: one process, its models loaded once, shards taken one by one and committed."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import numpy as np

from pixelmill.devices import usable_device
from pixelmill.embedding.precision import fastest_precision
from pixelmill.errors import ImageRejected, StoreError
from pixelmill.images.sandbox import decode_apart
from pixelmill.malloc import give_back, keep_freed
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load_file
from pixelmill.models.weights import CachedFile
from pixelmill.pipeline import Guarded, Lacking, Pipeline, Result, Target, Timing
from pixelmill.plan import Coverage, Plan, Shard, count_pending, cut, make_plan
from pixelmill.provenance import Decode, existing_matrices, provenance_of, still_makes
from pixelmill.run.drift import Measured, forget_measured, reproduces
from pixelmill.run.job import Job
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact_if_needed
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.watch import COMPUTING, Hang, Unanswered, answer, begin, model_hangs, past

log = logging.getLogger(__name__)

_SAMPLES = 8
_EXAMPLES = 5
_RETRY_DELAYS = (1.0, 4.0)
"""Seconds before files that could not be read are tried again."""

OnEmbedded = Callable[[str, int], None]
_loaded: dict[tuple[ModelSpec, str, str, str], EmbeddingModel] = {}


@dataclass(frozen=True, slots=True)
class Noted:
    """Pictures that were taken although the same is wrong with their files, as viewers take them: how many, and the
    paths of a few."""

    images: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: Noted) -> Noted:
        return Noted(self.images + other.images, (*self.examples, *other.examples)[:_EXAMPLES])


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What a worker did: images read and refused, vectors by model, on which devices, how long the stages took (with
    reading and decoding summed over `threads`), the files left for later, with the reason, those that were taken
    although something is wrong with them, by what it is, and what hung. `place` is the process that did it, on which
    machine."""

    worker: str = ""
    place: str = ""
    read: int = 0
    refused: int = 0
    embedded: dict[str, int] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    timing: Timing = field(default_factory=Timing)
    threads: int = 1
    unread: tuple[str, ...] = ()
    noted: dict[str, Noted] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    hung: tuple[Hang, ...] = ()

    @property
    def is_blind(self) -> bool:
        """Whether none of its files could be read, as where a disk is not mounted."""
        return bool(self.unread) and not self.read

    @property
    def is_stuck(self) -> bool:
        """Whether its model hangs: the process can do nothing more."""
        return any(hang.stage in COMPUTING for hang in self.hung)


def loaded_model(job: Job, spec: ModelSpec, file: CachedFile, precision: str) -> EmbeddingModel:
    """The model on its device in `precision`, loaded once in this process."""
    device, _ = usable_device(job.devices.get(spec.name, job.device), fall_back=job.missing_device == "cpu")
    key = (spec, file.sha256, device, precision)
    if key not in _loaded:
        keep_freed()
        _loaded[key] = load_file(spec, file, device=device, dtype=precision)
    return _loaded[key]


def release_models() -> None:
    """Forget the models that this process has loaded, and give the memory of GPUs back, unless one hangs."""
    on_gpu = not model_hangs() and any(model.device.type == "cuda" for model in _loaded.values())
    _loaded.clear()
    forget_measured()
    give_back()
    if on_gpu:
        import torch

        torch.cuda.empty_cache()


def prepare(job: Job, writer: StoreWriter, scan: int) -> tuple[list[Matrix], Plan]:
    """The matrix that each model of the job fills, in the order of the job, and the plan of what they lack.

    A model is loaded here only when something is to embed: to settle the `auto` choices of a new matrix, and to make
    sure that it still makes what an older one holds. Without any image there is no matrix to make. If others do
    the work, that happens on whatever device is here, and the models are released. A model that hangs meanwhile fills
    what it filled before, or nothing.
    """
    elsewhere = job.fan_out != "inline"
    if elsewhere:
        job = job.model_copy(update={"device": "auto", "devices": {}})
    store = writer.snapshot()
    cache = job.cache.open()
    files = {spec: cache.fetch_model(spec) for spec in job.specs}
    found = {spec: existing_matrices(store.manifest, job, spec, files[spec].sha256) for spec in job.specs}
    matrices = [fitting[0] for fitting in found.values() if fitting]
    complete = len(matrices) == len(job.specs) and not count_pending(writer.ledger, store, matrices, scan)
    samples = [] if complete else _sample_files(writer.ledger, scan)
    if samples:
        forget_measured()
        settled = [_settled_in_time(job, writer, spec, files[spec], found[spec], samples) for spec in job.specs]
        matrices = [matrix for matrix in settled if matrix]
    if elsewhere:
        release_models()
    return matrices, plan_for(job, writer, matrices, scan)


def plan_for(job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int) -> Plan:
    """What `matrices` lack now. With a deadline the newest images come first: it may leave the rest."""
    return make_plan(
        writer.ledger, writer.snapshot(), matrices, scan, job.shard_size,
        workers=job.parallel, newest_first=job.deadline is not None,
    )  # fmt: skip


def preview(job: Job, writer: StoreWriter, scan: int) -> dict[str, int]:
    """How many images each model of the job lacks; nothing is fetched, loaded or made."""
    store, cache = writer.snapshot(), job.cache.open()
    pending = {}
    for spec in job.specs:
        file = cache.cached(spec.weights)
        sha256 = file.sha256 if file else spec.weights.sha256 if spec.weights.pinned else None
        found = existing_matrices(store.manifest, job, spec, sha256) if sha256 else []
        if found:
            pending[spec.name] = count_pending(writer.ledger, store, found[:1], scan).total()
        else:
            pending[spec.name] = sum(1 for _ in writer.ledger.images(scan))
    return pending


def plan_of(job: Job, pending: Mapping[str, int]) -> Plan:
    """A plan for so many images by model, to reckon with: none is recorded."""
    images = max(pending.values(), default=0)
    return Plan(dict(pending), images, cut(images, job.shard_size, job.parallel))


def embed_shard(
    job: Job, writer: StoreWriter, matrices: Sequence[Matrix], scan: int, shard: Shard, *,
    worker: str = "inline", on_embedded: OnEmbedded = lambda _model, _images: None,
) -> ShardReport:  # fmt: skip
    """Embed what the images of a shard lack, and commit it. Doing a shard twice does nothing the second time.

    It ends after the batch at hand when the deadline is over; what was embedded by then is committed. So it does when
    the model hangs; after that nothing more is embedded in this process.
    """
    reports = []
    ordered = sorted(matrices, key=lambda matrix: matrix.provenance.decode)
    for decode, group in groupby(ordered, key=lambda matrix: matrix.provenance.decode):
        if not model_hangs():
            reports.append(_embed_group(job, writer, list(group), decode, scan, shard, worker, on_embedded))
    begin("store", os.fspath(job.store))
    compact_if_needed(writer)
    did = combined(reports)
    hung = tuple(replace(hang, worker=worker) for hang in did.hung)
    return replace(did, worker=worker, threads=job.threads, place=this_process(), hung=hung)


def this_process() -> str:
    """This process and its machine, as people look for them."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def combined(reports: Sequence[ShardReport]) -> ShardReport:
    """Several reports as one."""
    total, timing = ShardReport(), Timing()
    for report in reports:
        timing.add(report.timing)
        models = {*total.embedded, *report.embedded}
        total = ShardReport(
            worker=report.worker,
            place=report.place,
            threads=report.threads,
            read=total.read + report.read,
            refused=total.refused + report.refused,
            embedded={model: total.embedded.get(model, 0) + report.embedded.get(model, 0) for model in models},
            devices={**total.devices, **report.devices},
            seconds=total.seconds + report.seconds,
            unread=(*total.unread, *report.unread),
            noted=_added(total.noted, report.noted),
            warnings=(*total.warnings, *report.warnings),
            hung=(*total.hung, *report.hung),
        )
    return replace(total, timing=timing)


def _embed_group(
    job: Job,
    writer: StoreWriter,
    matrices: Sequence[Matrix],
    decode: Decode,
    scan: int,
    shard: Shard,
    worker: str,
    on_embedded: OnEmbedded,
) -> ShardReport:
    start = time.perf_counter()
    try:
        targets = answer(partial(_ready_targets, job, writer, matrices, scan, shard, worker), deadline=job.deadline)
    except Unanswered as silent:
        return ShardReport(hung=(silent.hang,), seconds=time.perf_counter() - start)
    pipeline = Pipeline(
        targets, job.decode_options(decode),
        batch_size=job.batch_size, threads=job.threads, on_embedded=on_embedded,
    )  # fmt: skip
    files, lacking = _shard_files(writer, matrices, scan, shard)
    measured = Measured(writer, targets, worker)
    result = _run(job, pipeline, files, lacking)
    report, hung = _committed(job, measured, result), {hang.what for hang in result.hung}
    for delay in _RETRY_DELAYS:
        again = [file for file, _ in result.unread if file.absolute not in hung]
        if not again or past(job.deadline) or report.is_stuck:
            break
        time.sleep(delay)
        left = [told for told in result.unread if told[0].absolute in hung]
        result = _run(job, pipeline, again, lacking)
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


def _run(job: Job, pipeline: Pipeline, files: Sequence[FoundFile], lacking: Lacking) -> Result:
    """What a pipeline makes of files; of what it made, if a model hangs."""
    try:
        return answer(lambda: pipeline.run(files, lacking, stop=lambda: past(job.deadline)), deadline=job.deadline)
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
) -> tuple[list[FoundFile], Lacking]:
    if not writer.ledger.has_plan(scan, shard.first, shard.images):
        raise StoreError(
            f"Expected the plan of run {scan} in the ledger of {writer.folder}. It is not there any more: was the "
            "store repaired, or put back from a backup? What was embedded is stored; the next run does the rest."
        )
    coverage = Coverage(writer.snapshot(), writer.ledger, matrices)
    planned = writer.ledger.planned(scan, shard.first, shard.images)
    files = [file for file, row in planned if coverage.lacking(row)]
    return files, Guarded(lambda sha256: coverage.lacking(writer.ledger.row_of(sha256)))


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
        noted = _added(noted, {note: Noted(1, (file.absolute,))})
    return noted


def _added(noted: Mapping[str, Noted], more: Mapping[str, Noted]) -> dict[str, Noted]:
    return {note: noted.get(note, Noted()) + more.get(note, Noted()) for note in {**noted, **more}}


def _told(result: Result) -> tuple[str, ...]:
    return tuple(f"{file.absolute}: {reason}" for file, reason in result.unread)


def _settled_in_time(
    job: Job, writer: StoreWriter, spec: ModelSpec, file: CachedFile, found: Sequence[Matrix],
    samples: Sequence[FoundFile],
) -> Matrix | None:  # fmt: skip
    try:
        return _settled(job, writer, spec, file, found, samples)
    except Unanswered:  # it is on record as what hangs
        return found[0] if found else None


def _settled(
    job: Job,
    writer: StoreWriter,
    spec: ModelSpec,
    file: CachedFile,
    found: Sequence[Matrix],
    samples: Sequence[FoundFile],
) -> Matrix:
    """The matrix to fill: the first of those found that the model still makes, else one for what it makes now.

    Where only the vectors differ, and nothing that is recorded does, that is the next generation.
    """
    generation = 1
    for matrix in found:
        model = _loaded_in_time(job, spec, file, matrix.provenance.precision)
        if still_makes(model, matrix.provenance):
            if answer(partial(reproduces, writer, matrix, model), deadline=job.deadline):
                writer.continue_with(matrix.provenance.fingerprint)
                return matrix
            generation = max(generation, matrix.provenance.generation + 1)
    newest = found[0].provenance if found else None
    decode: Decode = job.decode or (newest.decode if newest else "fast")
    if newest:
        precision: str = newest.precision
    else:
        precision = job.precision if job.precision != "auto" else measured_precision(job, spec, file, samples)
    made = provenance_of(
        _loaded_in_time(job, spec, file, precision), job, precision=precision, decode=decode, generation=generation
    )
    return writer.matrix(made, job.vector_dtype)


def measured_precision(job: Job, spec: ModelSpec, file: CachedFile, files: Sequence[FoundFile]) -> str:
    """The fastest precision that holds for a model on its device, measured with the first few images of `files`."""
    model = _loaded_in_time(job, spec, file, "float32")
    samples: list[np.ndarray] = []
    for found in files:
        try:
            data = answer(partial(_read, found, job.max_bytes), deadline=job.deadline)
            made = model.preprocessing
            decoded = decode_apart(data, job.decode_options("fast"), shortest=made.resize, wanted=[made])
        except (ImageRejected, OSError):
            continue
        samples.append(decoded.arrays[0])
        if len(samples) == _SAMPLES:
            break
    return answer(partial(_fastest, model, samples), deadline=job.deadline)


def _loaded_in_time(job: Job, spec: ModelSpec, file: CachedFile, precision: str) -> EmbeddingModel:
    def load() -> EmbeddingModel:
        begin("load", spec.name)
        return loaded_model(job, spec, file, precision)

    return answer(load, deadline=job.deadline)


def _read(file: FoundFile, max_bytes: int) -> bytes:
    begin("read", file.absolute, file.source)
    return read_image(file, max_bytes=max_bytes)


def _fastest(model: EmbeddingModel, samples: Sequence[np.ndarray]) -> str:
    begin("embed", f"{model.spec.name}, to measure which precision is fastest")
    return fastest_precision(model, samples)


def _sample_files(ledger: Ledger, scan: int) -> list[FoundFile]:
    return [file for _, (file, _) in zip(range(4 * _SAMPLES), ledger.images(scan), strict=False)]

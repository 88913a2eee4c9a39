"""Which matrix a model fills is settled where the model will run: one that it still makes, or a new one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pixelmill.choices import Decode
from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.embedding.precision import PICTURES, PrecisionFound, fastest_precision
from pixelmill.embedding.progress import telling
from pixelmill.embedding.targets import Target
from pixelmill.errors import ImageRejected
from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.pipeline import Pipeline
from pixelmill.provenance import provenance_of, still_makes
from pixelmill.run.answer import REPORT, merged, rows_of, rows_packed
from pixelmill.run.drift import ReadFile, checked
from pixelmill.run.job import Job
from pixelmill.run.loaded import loaded_model, note_sound
from pixelmill.run.measure import NIGHTLY
from pixelmill.run.orders import Unsettled
from pixelmill.run.results import ShardReport, combined, this_process, told_of
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.store.manifest import Fillable, Matrix, Provenance
from pixelmill.store.rows import ShardRows
from pixelmill.travel.messages import Message, MessageRefused, decode, encode
from pixelmill.watch.calls import answer, begin

KIND = "settled"
_FIRST_BATCH = 8
_THREADS = 2
_FOUND = TypeAdapter(PrecisionFound)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a model fills: the matrix of `made`, which is there or is to be made; `checks` by fingerprint of those that
    it was compared with, as (vectors compared, least cosine). `measured` is how its precision was found, None if it was
    given. `rows` are the first of a new matrix, if they were asked for: what everybody else is measured by; `report`
    tells of them."""

    model: str
    made: Provenance
    checks: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    measured: PrecisionFound | None = None
    rows: ShardRows | None = None
    report: ShardReport = field(default_factory=ShardReport)

    def message(self, store_id: str, run: int) -> bytes:
        """It, as it travels."""
        rows, arrays = rows_packed(self.rows or ShardRows())
        header = {
            "model": self.model, "made": self.made.model_dump(), "checks": self.checks,
            "measured": _FOUND.dump_python(self.measured) if self.measured else None,
            "rows": rows if self.rows else None, "report": REPORT.dump_python(self.report),
        }  # fmt: skip
        return encode(Message(KIND, store_id, run, header, arrays))

    @classmethod
    def of(cls, data: bytes, store_id: str) -> Settled | NotLoaded:
        """What a message holds, of a store. Raises MessageRefused."""
        message = decode(data, KIND, store_id=store_id)
        said = message.header
        if "not_loaded" in said:
            return NotLoaded(str(said.get("model")), str(said["not_loaded"]))
        try:
            made = Provenance.model_validate(said["made"])
            fillable: list[Fillable] = [Matrix(provenance=made, dtype="float32", serving=False), FACTS_GROUP]
            rows = rows_of(said["rows"], message.arrays, fillable) if said["rows"] else None
            checks = {str(f): (int(compared), float(cosine)) for f, (compared, cosine) in said["checks"].items()}
            measured = _FOUND.validate_python(said["measured"]) if said.get("measured") else None
            return cls(str(said["model"]), made, checks, measured, rows, REPORT.validate_python(said["report"]))
        except (ValidationError, LookupError, TypeError, ValueError) as error:
            raise MessageRefused(f"Expected what a worker settled. What was handed over is none: {error}") from error


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """A model could not be had where it was to be settled, and why."""

    model: str
    why: str

    def message(self, store_id: str, run: int) -> bytes:
        """It, as it travels."""
        return encode(Message(KIND, store_id, run, {"model": self.model, "not_loaded": self.why}, {}))


def settle(
    job: Job, asked: Unsettled, *, first_rows: bool = True, facts: bool = False, read: ReadFile | None = None
) -> Settled:  # fmt: skip
    """Find out which matrix a model fills: the first of those found that the model still makes here, else one for what
    it makes now.

    Where only the vectors differ, and nothing that is recorded does, that is the next generation. `first_rows`: also
    embed some images, as the first of a new one, and make their `facts`. Raises Unanswered if the model hangs.
    """
    settling = _Settling(job, next(spec for spec in job.specs if spec.name == asked.model), read)
    generation = 1
    for matrix, measure in asked.found:
        made = matrix.provenance
        model = settling.loaded(made.precision)
        if still_makes(model, made):
            begin("embed", f"{made.model}, to compare it with what is stored")
            check = answer(partial(checked, model, made, measure, read), deadline=job.deadline)
            if check.compared:
                settling.checks[made.fingerprint] = check.compared, check.least_cosine
            if check.sound and check.compared:
                note_sound(job, made.fingerprint, model)
            if check.sound:
                return Settled(asked.model, made, settling.checks)
            generation = max(generation, made.generation + 1)
    newest = asked.found[0][0].provenance if asked.found else None
    decode: Decode = job.decode or (newest.decode if newest else "fast")
    precision = newest.precision if newest else settling.precision(asked.samples)
    model, measured = settling.loaded(precision), settling.found
    made = provenance_of(model, job.decode_options(decode), precision=precision, generation=generation)
    if not first_rows:
        return Settled(asked.model, made, settling.checks, measured)
    return Settled(
        asked.model, made, settling.checks, measured, *settling.first_rows(model, made, asked.samples, facts)
    )


def measured_precision(job: Job, spec: ModelSpec, files: Sequence[FoundFile], read: ReadFile | None = None) -> str:
    """The fastest precision that holds for a model on its device, measured with the first of `files`."""
    return _Settling(job, spec, read).measured(files)


class _Settling:
    """A model whose matrix is being settled."""

    def __init__(self, job: Job, spec: ModelSpec, read: ReadFile | None) -> None:
        self.job = job
        self.spec = spec
        self.checks: dict[str, tuple[int, float]] = {}
        self.found: PrecisionFound | None = None
        self._read_bytes = read or partial(read_image, max_bytes=job.max_bytes)
        self._read = read

    def loaded(self, precision: str) -> EmbeddingModel:
        def load() -> EmbeddingModel:
            begin("load", self.spec.name)
            return loaded_model(self.job, self.spec, self.job.cache.open().fetch_model(self.spec), precision)

        return answer(load, deadline=self.job.deadline)

    def precision(self, samples: Sequence[FoundFile]) -> str:
        return self.job.precision if self.job.precision != "auto" else self.measured(samples)

    def measured(self, files: Sequence[FoundFile]) -> str:
        model = self.loaded("float32")
        samples: list[np.ndarray] = []
        for found in files:
            try:
                data = answer(partial(self._bytes, found), deadline=self.job.deadline)
                made = model.preprocessing
                options = self.job.decode_options("fast")
                decoded = decode_in_sandbox(data, options, shortest=made.resize, wanted=[made])
            except (ImageRejected, OSError):
                continue
            samples.append(decoded.arrays[0])
            if len(samples) == PICTURES:
                break
        fastest = partial(fastest_precision, model, samples, batch_size=self.job.batch_size)
        self.found = answer(fastest, deadline=self.job.deadline)
        return self.found.precision

    def first_rows(
        self, model: EmbeddingModel, made: Provenance, files: Sequence[FoundFile], facts: bool
    ) -> tuple[ShardRows, ShardReport]:
        """The rows of the first images that can be embedded, no more than what is compared each night. Of files that
        could not be read those tell who do the shards: these are in their plan."""
        start, options = time.perf_counter(), self.job.decode_options(made.decode)
        targets = [Target(model, made.fingerprint)]
        pipeline = Pipeline(targets, options, batch_size=_FIRST_BATCH, threads=_THREADS, read=self._read)
        wanted = frozenset({made.fingerprint, *[FACTS_GROUP.fingerprint] * facts})
        rows, reports, begun, lacking = ShardRows(), list[ShardReport](), 0, NIGHTLY
        with telling(lambda _model, _images: None, alone=True):  # the run counts them when they are handed in
            while lacking and begun < len(files):
                some = files[begun : begun + lacking]
                begun += len(some)
                result = answer(partial(pipeline.run, some, lambda _sha256: wanted), deadline=self.job.deadline)
                rows = merged([rows, result.rows])
                reports.append(replace(told_of(result, targets), unread=(), hung=()))
                lacking = NIGHTLY - sum(len(vectors.index) for vectors in rows.vectors.values())
        did = replace(combined(reports), place=this_process(), threads=_THREADS, warnings=tuple(model.doubts))
        return rows, replace(did, seconds=time.perf_counter() - start)

    def _bytes(self, file: FoundFile) -> bytes:
        begin("read", file.absolute, file.source)
        return self._read_bytes(file)

"""A worker: one process, its models loaded once, shards taken one by one; what it needs travels, and so do its rows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.embedding.shard import Result
from pixelmill.embedding.targets import MissingMatrices, Target
from pixelmill.errors import EmbeddingFailed
from pixelmill.images.locked import in_words
from pixelmill.images.sandbox_pool import not_locked_by
from pixelmill.pipeline import Pipeline
from pixelmill.provenance import still_makes
from pixelmill.run.answer import ShardAnswer, merged
from pixelmill.run.drift import Check, ReadFile, checked
from pixelmill.run.job import Job
from pixelmill.run.loaded import is_sound, loaded_model, note_sound
from pixelmill.run.measure import Measure
from pixelmill.run.models_left_out import why
from pixelmill.run.orders import RunOrders, Unsettled, paths_of
from pixelmill.run.piece import TimedFiles
from pixelmill.run.results import ShardReport, combined, this_process, told_of, unread_of
from pixelmill.run.retries import SHARD
from pixelmill.run.settle import NotLoaded, Settled, settle
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image
from pixelmill.store.manifest import Matrix
from pixelmill.store.rows import ShardRows
from pixelmill.travel.mapping import seen_here
from pixelmill.travel.shard_order import ShardOrder
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import Hang, Unanswered, model_hangs
from pixelmill.watch.stopping import asked

if TYPE_CHECKING:
    from pixelmill.models.base import EmbeddingModel

log = logging.getLogger(__name__)

_RETRY_DELAYS = (1.0, 4.0)
"""Seconds before files that could not be read are tried again."""


class OtherVectors(EmbeddingFailed):
    """Models that make, in this process, other vectors than are stored: by their names, in words."""

    def __init__(self, drifted: dict[str, str]) -> None:
        super().__init__(" ".join(drifted.values()))
        self.drifted = drifted

    def __reduce__(self) -> tuple[type[OtherVectors], tuple[dict[str, str]]]:
        return type(self), (self.drifted,)  # another process makes it anew


class AtWork:
    """A worker of a run at its work: what it embeds is of one kind with what is stored, or it embeds nothing."""

    def __init__(
        self, orders: RunOrders, worker: str, *, prefixes: np.ndarray | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """`stopped`: whether the run says that its deadline has come, by whatever clock."""
        self.job, self._warning = orders.job_of(worker)
        self.worker = worker
        self._matrices = {matrix.provenance.fingerprint: matrix for matrix in orders.matrices}
        self._measures = dict(orders.measures)
        self._prefixes = prefixes
        self._facts = orders.facts
        self.read = reader_for(self.job, worker)
        self._checks: dict[str, tuple[int, float]] = {}
        self._stopped = stopped
        self._not_loaded: dict[str, str] = {}
        """By model, why it cannot be had here."""

    def stop(self) -> bool:
        """Whether no more is to be begun."""
        return self._stopped() or past(self.job.deadline)

    def due_in(self, seconds: float | None) -> None:
        """Be done in so many seconds from now, if the deadline is not sooner: the clock of the run may be another."""
        if seconds is not None:
            deadline = min(self.job.deadline or math.inf, time.time() + seconds)
            self.job = self.job.model_copy(update={"deadline": deadline})

    def embed(self, order: ShardOrder) -> ShardAnswer:
        """Embed what the images of a shard lack; if it takes longer than `commit_every`, of its first ones, and the
        answer says what is left.

        It ends after the batch at hand when the deadline is over, with what was embedded by then. So it does when the
        model hangs; after that nothing more is embedded in this process. Raises OtherVectors.
        """
        self._checks = {}
        asked = [self._matrices[fingerprint] for fingerprint in order.fingerprints if fingerprint in self._matrices]
        matrices = sorted(asked, key=lambda matrix: matrix.provenance.decode)
        groups = [list(group) for _, group in groupby(matrices, key=lambda matrix: matrix.provenance.decode)] or [[]]
        piece = TimedFiles(order.files, self.job.commit_seconds / max(len(groups), 1), least=self.job.batch_size)
        done: list[Result] = []
        reports: list[ShardReport] = []
        for group in groups:
            if not model_hangs():
                reports.append(self._embed_group(order, group, piece, done))
        hung = tuple(replace(hang, worker=self.worker) for report in reports for hang in report.hung)
        told = [*(warning for report in reports for warning in report.warnings), self._warning, self._not_locked()]
        warnings = tuple(dict.fromkeys(filter(None, told)))
        did = replace(combined(reports), worker=self.worker, threads=self.job.threads, place=this_process())
        models = {matrix.provenance.model for matrix in matrices}
        not_loaded = {model: reason for model, reason in self._not_loaded.items() if model in models}
        did = replace(did, hung=hung, warnings=warnings, checks=self._checks, has_more=not piece.is_all)
        did = replace(did, not_loaded=not_loaded)
        unmeasured = tuple(matrix.fingerprint for matrix in asked if self._measures[matrix.fingerprint].is_new)
        rows = merged([result.rows for result in done])
        answer = ShardAnswer(order.store_id, order.run, order.number, rows, did, unmeasured, order.piece)
        return answer if piece.is_all else replace(answer, rest=order.after(piece.taken, answer.made))

    def settled(self, asked: Unsettled) -> Settled | NotLoaded:
        """Which matrix a model fills, found out here. Raises Unanswered if the model hangs."""
        try:
            found = SHARD.around(settle, f"settling {asked.model}")(self.job, asked, facts=self._facts, read=self.read)
        except Unanswered:
            raise
        except Exception as error:  # whatever a library makes of a file, or a device of a model
            return NotLoaded(asked.model, why(asked.model, error))
        warnings = (*found.report.warnings, *[self._warning] * bool(self._warning))
        return replace(found, report=replace(found.report, worker=self.worker, warnings=warnings))

    def refusal(self, order: ShardOrder, other: OtherVectors) -> ShardAnswer:
        """What is handed in by a worker that embeds nothing, because it would make other vectors than are stored."""
        report = ShardReport(self.worker, this_process(), drifted=other.drifted, threads=self.job.threads)
        return ShardAnswer(order.store_id, order.run, order.number, ShardRows(), report)

    def measured_anew(self, answer: ShardAnswer, measures: Mapping[str, Measure]) -> ShardAnswer:
        """What it has made, compared after all: somebody else has begun an empty matrix. Raises OtherVectors."""
        self._measures.update(measures)
        targets = self._targets([self._matrices[fingerprint] for fingerprint in measures])
        report = replace(answer.report, warnings=(*answer.report.warnings, *self._require(targets)))
        return replace(answer, report=report, unmeasured=tuple(f for f in answer.unmeasured if measures[f].is_new))

    def _not_locked(self) -> str:
        """What the processes here that decode pictures lack of their locks, in words."""
        words = in_words(not_locked_by())
        return words and f"{self.worker}: {words}"

    def _embed_group(
        self, order: ShardOrder, matrices: Sequence[Matrix], piece: TimedFiles, done: list[Result]
    ) -> ShardReport:  # fmt: skip
        start, job = time.perf_counter(), self.job
        try:
            targets, warnings = answer(partial(self._ready, order, matrices), deadline=job.deadline)
        except Unanswered as silent:
            return ShardReport(hung=_hung(silent), seconds=time.perf_counter() - start)
        if not targets and matrices:
            return ShardReport(seconds=time.perf_counter() - start)
        options = job.decode_options(matrices[0].provenance.decode if matrices else "fast")
        pipeline = Pipeline(targets, options, batch_size=job.batch_size, threads=job.threads, read=self.read)
        fingerprints = {target.fingerprint for target in targets}
        if not done:  # facts are made of what is decoded first
            fingerprints.add(FACTS_GROUP.fingerprint)

        def missing(sha256: bytes) -> frozenset[str]:
            return order.lacking(sha256, self._prefixes) & fingerprints

        result = self._run(pipeline, piece.files(), missing)
        done.append(result)
        report, hung = told_of(result, targets), {hang.what for hang in result.hung}
        for delay in _RETRY_DELAYS:
            again = [file for file, _ in result.unread if file.absolute not in hung]
            if not again or self.stop() or report.is_stuck:
                break
            time.sleep(delay)
            left = [told for told in result.unread if told[0].absolute in hung]
            result = self._run(pipeline, again, missing)
            result.unread += left
            done.append(result)
            report = replace(combined([report, told_of(result, targets)]), unread=unread_of(result))
            hung |= {hang.what for hang in result.hung}
        doubts = tuple(doubt for target in targets for doubt in target.model.doubts)
        seconds = time.perf_counter() - start
        return replace(report, warnings=(*warnings, *doubts), seconds=seconds)

    def _ready(self, order: ShardOrder, matrices: Sequence[Matrix]) -> tuple[Sequence[Target], Sequence[str]]:
        """The models of a shard, loaded; if something is to embed, they make what their matrices hold, as far as that
        can be compared: warnings where it cannot."""
        targets = self._targets(matrices)
        return targets, self._require(targets) if order.files else ()

    def _targets(self, matrices: Sequence[Matrix]) -> list[Target]:
        """The models that fill matrices, loaded; of those that cannot be had it is noted why."""
        return [target for matrix in matrices if (target := self._target(matrix))]

    def _target(self, matrix: Matrix) -> Target | None:
        model = matrix.provenance.model
        if model not in self._not_loaded:
            try:
                loaded = SHARD.around(loaded_for, f"loading {model}")(self.job, matrix)
                return Target(loaded, matrix.provenance.fingerprint)
            except Exception as error:  # whatever a library makes of a file, or a device of a model
                self._not_loaded[model] = why(model, error)
                log.warning("%s cannot be had here: %s", model, self._not_loaded[model])
        return None

    def _require(self, targets: Sequence[Target]) -> Sequence[str]:
        drifted: dict[str, str] = {}
        unseen = []
        for target in targets:
            if is_sound(self.job, target.fingerprint, target.model):
                continue
            made, measure = self._matrices[target.fingerprint].provenance, self._measures[target.fingerprint]
            begin("embed", f"{made.model}, to compare it with what is stored")
            check = checked(target.model, made, measure, self.read)
            if not check.sound or not still_makes(target.model, made):
                drifted[made.model] = self._other_vectors(target, check)
            elif check.compared:
                self._checks[target.fingerprint] = check.compared, check.least_cosine
                note_sound(self.job, target.fingerprint, target.model)
            elif not measure.is_new:
                unseen.append(self._unchecked(made.model))
        if drifted:
            raise OtherVectors(drifted)
        return unseen

    def _run(self, pipeline: Pipeline, files: Iterable[FoundFile], missing: MissingMatrices) -> Result:
        """What a pipeline makes of files; of what it made, if a model hangs."""
        try:
            return answer(lambda: pipeline.run(files, missing, stop=self.stop), deadline=self.job.deadline)
        except Unanswered as silent:
            result = pipeline.so_far()
            result.hung += _hung(silent)
            return result

    def _unchecked(self, model: str) -> str:
        return (
            f"{model}: worker {self.worker!r} could read none of the images that were looked at to compare what it "
            "makes with what is stored. Let it see the files of the sources, to have that checked."
        )

    def _other_vectors(self, target: Target, check: Check) -> str:
        model = target.model
        how = f"{check.compared} images that are stored, embedded again, come out otherwise (least cosine "
        how = f"{how}{check.least_cosine:.4f})" if not check.sound else "It prepares pictures otherwise"
        return (
            f"Expected worker {self.worker!r} to make of {model.spec.name} on {model.device} what its matrix holds. "
            f"{how}: its driver or libraries are others than those that made the matrix. Nothing was embedded here."
        )


def _hung(silent: Unanswered) -> tuple[Hang, ...]:
    """What is said to hang: nothing, where it was left because this process was asked to stop."""
    return () if asked() else (silent.hang,)


def loaded_for(job: Job, matrix: Matrix) -> EmbeddingModel:
    """The model that fills a matrix, in its precision; its weights are fetched unless they are cached."""
    spec = next(spec for spec in job.specs if spec.name == matrix.provenance.model)
    begin("load", spec.name)
    return loaded_model(job, spec, job.cache.open().fetch_model(spec), matrix.provenance.precision)


def reader_for(job: Job, worker: str) -> ReadFile | None:
    """How a worker reads files that it sees at another place than the run does; None where that is the same."""
    if not (paths := paths_of(job, worker)):
        return None
    return lambda file: read_image(seen_here(file, paths), max_bytes=job.max_bytes)

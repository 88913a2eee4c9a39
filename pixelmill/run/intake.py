"""What workers hand in: looked at, stored and counted, each as it comes. Nobody but the run writes to the store."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pixelmill.choices import VectorDtype
from pixelmill.embedding.progress import tell
from pixelmill.plan import Shard
from pixelmill.run.answer import ShardAnswer, fitting
from pixelmill.run.measure import Measure, measure_of
from pixelmill.run.orders import RunOrders
from pixelmill.run.results import ShardReport, this_process
from pixelmill.run.retries import SHARD
from pixelmill.run.settle import NotLoaded, Settled
from pixelmill.run.shard_orders import ShardOrders
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.compact import compact_if_needed
from pixelmill.store.manifest import Matrix
from pixelmill.travel.messages import MessageRefused
from pixelmill.travel.shard_order import ShardOrder
from pixelmill.watch.calls import begin
from pixelmill.watch.stopping import asked

log = logging.getLogger(__name__)


class Unread:
    """The files that a worker could not read, until another does."""

    def __init__(self) -> None:
        self.read_later: set[str] = set()
        """What was told of files that could be read after all."""
        self._told: dict[str, str] = {}

    def note(self, answer: ShardAnswer) -> None:
        """Take note of what a shard's worker could read, and what it could not."""
        if self._told:
            rows = answer.rows
            files = (*(content.file for content in rows.contents), *(file for file, _ in rows.copies))
            read = (*(file.absolute for file in files), *(failure.path for failure in rows.failures))
            self.read_later.update(self._told.pop(path) for path in read if path in self._told)
        for told in answer.report.unread:
            self._told.update((told[:at], told) for at in _ends(told))


def _ends(told: str) -> Iterator[int]:
    """Where the path may end in what is told of a file: it may hold what stands behind it."""
    at = told.find(": ")
    while at >= 0:
        yield at
        at = told.find(": ", at + 1)


class Intake:
    """Gives the shards of orders out, and takes in what becomes of them."""

    def __init__(self, writer: StoreWriter, orders: RunOrders, unread: Unread | None = None) -> None:
        self.done: list[ShardReport] = []
        self.settled: dict[str, Settled] = {}
        self.needs_rows = False
        """Whether a new matrix is to begin with rows, or not at all."""
        self.refused: list[str] = []
        """Why something that was handed in could not be used; what it was of is to be done again."""
        self.at: dict[str, str] = {}
        """What those who work elsewhere are at, by their names, for the log."""
        self._writer = writer
        self._orders = orders
        self._shards: ShardOrders | None = None
        self._matrices = {matrix.provenance.fingerprint: matrix for matrix in orders.matrices}
        self._began: dict[str, str] = {}
        self._least: dict[str, float] = {}
        self._unread = Unread() if unread is None else unread
        self._taken: set[tuple[int, int, str, str]] = set()
        self._rest: ShardOrder | None = None

    def order(self, shard: Shard, fingerprints: Sequence[str]) -> ShardOrder:
        """What a worker is to do with a shard."""
        return self._given().order(shard, fingerprints)

    def prefixes(self) -> bytes | None:
        """The message with the contents that lack nothing, for all workers; None where no shard needs it."""
        return self._given().prefixes()

    def left_of(self, order: ShardOrder, worker: str) -> ShardOrder | None:
        """What is left of a piece of a shard that this process does as a worker: all of it, unless it is stored; what
        follows it, if it was the last to be stored."""
        return self._rest if (order.number, order.piece, worker, this_process()) in self._taken else order

    def take(self, answer: ShardAnswer) -> None:
        """Store the rows of a shard, durably, and count them. Taking them twice changes nothing in the store.

        Raises Overtaken, and stores nothing, if they were made when there was nothing to compare with, and somebody
        else has begun the matrix since.
        """
        begin("store", os.fspath(self._writer.folder))
        rows, report = fitting(answer.rows, answer.report, self._matrices)
        place = report.place
        unmeasured = [f for f in answer.unmeasured if f in rows.vectors]
        if any(self._matrices[f].extents or self._began.get(f, place) != place for f in unmeasured):
            raise Overtaken(f"Expected {place} to compare what it makes with what is stored. It began too early.")
        looked_at = [_empty(self._matrices[f]) for f in unmeasured if f not in self._began]
        done = self._writer.commit(rows, looked_at=looked_at)
        self._began.update((fingerprint, place) for fingerprint in unmeasured if len(rows.vectors[fingerprint].index))
        if not asked():
            compact_if_needed(self._writer)
        self._note_checks(report.checks)
        self._unread.note(answer)
        key = answer.number, answer.piece, report.worker, place
        if key not in self._taken:  # else it was handed in twice
            warnings = (*report.warnings, *(_unknown(file.absolute) for file in done.unknown))
            self._count(replace(report, embedded_twice=done.dropped, warnings=warnings))
        if not report.is_blind:
            self._taken.add(key)
        self._rest = answer.rest

    def take_message(self, data: bytes, what: str, *, beside: int = 1) -> ShardAnswer | None:
        """Take in a shard's rows that have travelled; None for those that cannot be used: told of as `what`.

        So many of a worker's processes are at work `beside` each other, and their seconds count once.
        """
        try:
            answer = ShardAnswer.of(data, self._orders.store_id, self._orders.asked)
            answer = replace(answer, report=replace(answer.report, seconds=answer.report.seconds / beside))
            SHARD.around(self.take, f"storing {what}")(answer)
        except (MessageRefused, Overtaken) as refused:
            self.refuse(what, refused)
            return None
        for model, images in answer.report.embedded.items():
            tell(model, images)
        return answer

    def take_settled(self, settled: Settled | NotLoaded, worker: str) -> None:
        """Take note of the matrix that a model fills, made by now; its first rows are stored, unless somebody else was
        first. Raises MessageRefused for a new one of which the worker could read no image, where another may."""
        if self._is_settled(settled.model):
            log.info("%s settled %s when that was done", worker, settled.model)
            return
        if isinstance(settled, NotLoaded):
            self.done.append(ShardReport(worker, not_loaded={settled.model: settled.why}))
            return
        writer = self._writer
        if self.needs_rows and settled.rows and not settled.rows.vectors:
            raise MessageRefused(f"Expected {worker} to read some images for {settled.model}. It could read none.")
        self._note_checks(settled.checks)
        matrix = settle_in(writer, settled, self._orders.job.vector_dtype)
        self.settled[settled.model] = settled
        if settled.rows and settled.rows.vectors and not matrix.extents:
            rows, report = fitting(settled.rows, settled.report, {matrix.provenance.fingerprint: matrix})
            try:
                writer.commit(rows, looked_at=[matrix])
            except Overtaken as late:
                log.warning("%s: %s", settled.model, late)
                return
            self._count(replace(report, worker=worker))

    def take_settled_message(self, data: bytes, what: str, worker: str) -> None:
        """Like `take_settled`, of what has travelled."""
        try:
            self.take_settled(Settled.of(data, self._orders.store_id), worker)
        except MessageRefused as refused:
            self.refuse(what, refused)

    def _is_settled(self, model: str) -> bool:
        """Whether what is settled for a model comes too late: from who was given up, and another has done it since."""
        asked = any(one.model == model for models in self._orders.settling.values() for one in models)
        made = self._writer.snapshot().manifest.matrices
        return model in self.settled or (not asked and any(matrix.provenance.model == model for matrix in made))

    def refuse(self, what: str, why: Exception) -> None:
        """Say that something handed in could not be used."""
        self.refused.append(f"{what} was not stored: {why}")
        log.warning("%s", self.refused[-1])

    def measures(self) -> Mapping[str, Measure]:
        """What the matrices that were empty when the orders were given hold by now."""
        store = self._writer.snapshot()
        empty = [f for f, measure in self._orders.measures.items() if measure.is_new]
        found = {f: measure_of(store, self._matrices[f]) for f in empty}
        self._orders = replace(self._orders, measures={**self._orders.measures, **found})
        return found

    def _given(self) -> ShardOrders:
        if self._shards is None:
            self._shards = ShardOrders(self._writer, self._orders.asked, self._orders.scan)
        return self._shards

    def _count(self, report: ShardReport) -> None:
        """Count what was stored just now; it stays on record should this run be killed."""
        self.done.append(report)
        self._writer.ledger.runs.tell_embedded(self._orders.scan, report.embedded)

    def _note_checks(self, checks: Mapping[str, tuple[int, float]]) -> None:
        """Keep the worst of what processes told: few nights are kept, and the last check stands for the run."""
        for fingerprint, (compared, cosine) in checks.items():
            if cosine < self._least.get(fingerprint, math.inf):
                self._least[fingerprint] = cosine
                self._writer.ledger.runs.record_check(fingerprint, compared, cosine)


def _empty(matrix: Matrix) -> Matrix:
    return matrix.model_copy(update={"extents": ()})


def _unknown(path: str) -> str:
    return f"{path} was taken for a copy of a content that nobody has stored: the next run reads it again."


def settle_in(writer: StoreWriter, settled: Settled, dtype: VectorDtype) -> Matrix:
    """The matrix that was settled on, made if need be; runs fill it from now on."""
    found = writer.snapshot().manifest.matrix(settled.made.fingerprint)
    if found is None:
        return writer.matrix(settled.made, dtype)
    writer.continue_with(settled.made.fingerprint)
    return found

"""What the workers of runs that died have handed over: the next run takes it in, and nobody makes it again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from pixelmill.errors import HandoverUnreachable
from pixelmill.run.facts import facts_of
from pixelmill.run.handoff import RunPlace
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.results import ShardReport
from pixelmill.store.commit import StoreWriter
from pixelmill.store.filesystem import clock
from pixelmill.store.living import lives
from pixelmill.travel.handover import Handover, handover_at
from pixelmill.travel.messages import mentions

_HALF_WRITTEN = 3600.0
"""Seconds after which nobody goes on with what is half-written."""


def take_in_left(job: Job, writer: StoreWriter) -> tuple[tuple[ShardReport, ...], tuple[str, ...]]:
    """Store what lies at the hand-over place of runs of this store that do not live any more; what of it cannot be used
    is told of. Their orders are taken away, so that workers of theirs that still work come to an end.

    What they did, and what was refused.
    """
    manifest = writer.snapshot().manifest
    orders = RunOrders(job, manifest.store_id, 0, matrices=manifest.matrices, facts=bool(facts_of(job, manifest)))
    done: list[ShardReport] = []
    refused: list[str] = []
    try:
        handover = handover_at(job.handover_place)
        for run in _dead(handover, writer, manifest.store_id):
            intake = Intake(writer, orders)
            place = RunPlace(handover, f"{manifest.store_id}/{run}")
            place.take_in(intake)
            done += [_as_of_now(report, run) for report in intake.done]
            refused += intake.refused
            place.clear()
    except HandoverUnreachable as error:  # who needs the place now says so
        refused.append(f"What workers of earlier runs may have handed over was not taken in. {error}")
    return tuple(done), tuple(refused)


def forget_left(place: str, writer: StoreWriter, digests: Collection[bytes], texts: Collection[str]) -> int:
    """Remove, of what lies at the hand-over place `place` of runs that do not live any more, all orders, and answers in
    which one of these contents, by its sha256, or texts is; how many answers, whose work the next run does again."""
    handover, gone = handover_at(place), 0
    store_id = writer.snapshot().manifest.store_id
    for run in list(_dead(handover, writer, store_id)):
        for name in list(handover.names(f"{store_id}/{run}")):
            is_answer = name.rpartition("/")[2].startswith(("rows-", "settled-"))
            data = handover.get(name) if is_answer else None
            if data is None or mentions(data, digests, texts):
                handover.remove(name)
                gone += is_answer
    handover.clear_halves(_HALF_WRITTEN)
    return gone


def _as_of_now(report: ShardReport, run: int) -> ShardReport:
    """What was done, without what did not answer then: whether it does now this run finds out."""
    return replace(report, worker=f"run {run}", unread=(), hung=())


def _dead(handover: Handover, writer: StoreWriter, store_id: str) -> Iterator[int]:
    """The runs that have left something and do not live."""
    now = clock(writer.folder)
    names = {name.split("/")[1] for name in handover.names(store_id) if name.count("/") > 1}
    for name in sorted(names):
        if name.isdecimal() and not lives(writer.folder, int(name), now=now):
            yield int(name)

"""One worker's share of a run: its orders are read, its shards done one by one, and each is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Final

from pixelmill.embedding.progress import telling
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.handoff import RunPlace, place_at
from pixelmill.run.intake import Intake
from pixelmill.run.loaded import release_models
from pixelmill.run.orders import RunOrders
from pixelmill.run.told import embedding_told
from pixelmill.run.worker import AtWork, OtherVectors
from pixelmill.store.commit import Overtaken
from pixelmill.travel.shard_order import ShardOrder, prefixes_in
from pixelmill.watch.hangs import model_hangs
from pixelmill.watch.stopping import heeded

EmbedShard = Callable[[AtWork, ShardOrder], ShardAnswer]
"""Do a shard as a worker."""
_IN_VAIN: Final = 3
"""After so many shards in a row of which a worker could do nothing it leaves the rest to others."""
EmbedAndStore = Callable[[AtWork, ShardOrder, Intake], ShardOrder | None]
"""Do a shard as a worker and store it; what is left of it, if it takes long."""
Show = Callable[[Mapping[str, int]], AbstractContextManager[object]]
"""Show how far the images to embed, by model, have come while a block runs."""


def do_share(
    handover: str, worker: str, *, embed: EmbedShard = AtWork.embed, waited: float = 0.0
) -> None:  # fmt: skip
    """Do what the orders at a place give to a worker, on its device, until the deadline; each shard is handed in there.

    `waited` is for how many seconds it has waited for its turn: of the time until the deadline, so much is over. It
    ends when the device does not answer, and after a few shards of which it could read nothing: others do the rest.
    While the place does not answer, what was made is kept. A signal ends it like the deadline. Raises StoreError where
    there are no orders, or the place is away for long, DeviceUnavailable, and OtherVectors.
    """
    at_hand, in_vain, done = place_at(handover), 0, Counter[str]()
    orders = at_hand.orders(waited)
    place = at_hand.patient()  # from now on there is something to lose
    try:
        with (
            heeded(),
            at_hand.alive(worker, done) as stopped,
            telling(lambda model, images: done.update({model: images})),
            embedding_told(orders, worker),
        ):
            prefixes = place.prefixes() if worker in orders.shares else None
            work = AtWork(orders, worker, prefixes=prefixes, stopped=stopped)
            for asked in () if work.stop() else orders.settling.get(worker, ()):
                place.hand_in_settled(work.settled(asked), orders, worker)
            for shard, fingerprints in orders.of(worker):
                order = None if work.stop() else place.shard(shard.number)
                if order is None:
                    break
                of_use = _handed_in(work, replace(order, fingerprints=fingerprints), place, embed)
                in_vain = 0 if of_use else in_vain + 1
                if model_hangs() or in_vain == _IN_VAIN:
                    break
    finally:
        release_models()


def _handed_in(work: AtWork, order: ShardOrder, place: RunPlace, embed: EmbedShard) -> bool:
    """Do a shard and hand it in, piece by piece where that takes long; whether the last piece was of use."""
    left: ShardOrder | None = order
    while left and (left is order or not work.stop()):
        try:
            answer = embed(work, left)
        except OtherVectors as other:
            place.hand_in(work.refusal(left, other))
            raise
        place.hand_in(answer)
        left = answer.rest if answer.report.is_of_use else None
    return answer.report.is_of_use


def do_here(
    orders: RunOrders, intake: Intake, *, embed: EmbedAndStore | None = None, show: Show = nullcontext
) -> None:  # fmt: skip
    """Do everybody's share in this process, and store each shard as it is done, in pieces where that takes long."""
    do = embed or embed_and_store
    try:
        for worker in orders.shares:
            with show(orders.images(worker)):
                data = intake.prefixes()
                work = AtWork(orders, worker, prefixes=None if data is None else prefixes_in(data))
                for shard, fingerprints in orders.of(worker):
                    if work.stop() or model_hangs():
                        break
                    left: ShardOrder | None = intake.order(shard, fingerprints)
                    while left:
                        left = do(work, left, intake)
                        left = None if work.stop() or model_hangs() else left
    finally:
        release_models()


def embed_and_store(work: AtWork, order: ShardOrder, intake: Intake) -> ShardOrder | None:
    """Embed what the images of a shard lack, and store it; what is left of it, if it takes long. Doing it twice does
    nothing the second time."""
    if (left := intake.left_of(order, work.worker)) is not order:
        return left
    answer = work.embed(order)
    while True:
        try:
            intake.take(answer)
            return answer.rest
        except Overtaken:
            answer = work.measured_anew(answer, intake.measures())

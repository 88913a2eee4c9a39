"""Where a run leaves its orders for workers, and they leave theirs for it: see `RunPlace`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np

from pixelmill.errors import HandoverUnreachable, StoreError
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.settle import NotLoaded, Settled
from pixelmill.sources.address import shown_path
from pixelmill.travel.handover import Handover, handover_at
from pixelmill.travel.patience import PATIENCE, Patient
from pixelmill.travel.shard_order import ShardOrder, prefixes_in
from pixelmill.watch import stopping
from pixelmill.watch.calls import doing, progress
from pixelmill.watch.clocks import Unchanged

log = logging.getLogger(__name__)

ALIVE_SECONDS = 5.0
"""How often a worker says that it lives."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: how far the work of a worker has come, which never goes back while it lives, and what it is at;
    how many images it has embedded in this round, by model. `beat` changes each time."""

    beat: int
    progress: str
    doing: str
    done: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class RunPlace:
    """The place of one run: a folder, or an address, that it and its workers can read and write.

        orders              the job, the matrices with what workers are measured by, who does which shards
        prefixes            contents that lack nothing, where shards need it
        shard-N             the files of a shard
        rows-N-WORKER       what became of it; the run takes it in, and away. rows-N.P-WORKER: of its further pieces
        settled-MODEL-WORKER which matrix a model fills, with its first rows
        WORKER.alive        written every few seconds by a worker that lives
        stop                the deadline has come; "now": the run is to end within seconds

    Nothing of it is needed to read the store or to go on after a crash: what is embedded, the store knows, but for rows
    that nobody has taken in, which the next run does.
    """

    handover: Handover
    name: str = ""
    whole: str = ""
    unchanged: Unchanged = field(default_factory=lambda: Unchanged(most=3 * ALIVE_SECONDS))
    embedded: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """What the last signs say of each worker: its images so far, by model."""
    at: dict[str, str] = field(default_factory=dict)
    """What workers are at, by their last signs."""

    def give(self, orders: RunOrders, intake: Intake) -> None:
        """Leave orders for workers, the list of what is to do last; signs of an earlier round are taken away."""
        for name in self.names():
            if name.endswith(".alive") or name == "stop":
                self.handover.remove(self._at(name))
        if orders.shares:
            if prefixes := intake.prefixes():
                self._put("prefixes", prefixes)
            models = {worker: dict(share) for worker, share in orders.shares.items()}
            for shard in orders.shards:
                wanted = {model for share in models.values() for model in share.get(shard.number, ())}
                self._put(f"shard-{shard.number}", intake.order(shard, orders.fingerprints(wanted)).message())
        self._put("orders", orders.message())

    def stop(self) -> None:
        """Tell the workers that the deadline has come, or that this process was asked to stop: then they are, too."""
        self._put("stop", b"now" if stopping.asked() else b"")

    def take_in(self, intake: Intake) -> None:
        """Take in what workers have handed over so far, one after the other."""
        for name in self.names():
            if name.startswith(("rows-", "settled-")) and (data := self.handover.get(self._at(name))) is not None:
                what = f"{name} at {self.name or 'the hand-over place'}"
                if name.startswith("rows-"):
                    intake.take_message(data, what)
                else:
                    intake.take_settled_message(data, what, name.split("-", 2)[2])
                self.handover.remove(self._at(name))

    def close(self, intake: Intake) -> None:
        """End a round: take the orders away, so that who still works at them notices, then what was handed in. What
        comes later stays for the next run."""
        for name in sorted(self.names(), key=lambda name: name != "orders"):
            if not name.startswith(("rows-", "settled-")):
                self.handover.remove(self._at(name))
        self.take_in(intake)

    def sign_of(self, worker: str) -> Sign | None:
        """The last sign of life of a worker."""
        with suppress(ValueError, TypeError):
            if data := self.handover.get(self._at(f"{worker}.alive")):
                sign = Sign(**json.loads(data))
                self.embedded[worker] = {model: int(images) for model, images in dict(sign.done).items()}
                self.at[worker] = sign.doing
                return sign
        return None

    def clear(self) -> None:
        """Throw it all away, once nobody works there."""
        self.handover.remove(self._at("orders"))
        self.handover.clear(self.name)

    def orders(self, waited: float = 0.0) -> RunOrders:
        """The orders, given at least `waited` seconds ago. Raises StoreError when there are none, as the run is over or
        this is another place, and for those of another version or damaged ones."""
        data = self.handover.get(self._at("orders"))
        if data is None:
            raise StoreError(
                f"Expected the orders of a run at {shown_path(self.whole)}. There are none: the run is over, or this "
                "machine does not see the same place. `vectorize` starts `embed`; run that."
            )
        return RunOrders.of_message(data, waited)

    def prefixes(self) -> np.ndarray | None:
        """The contents that lack nothing, where shards need them."""
        data = self.handover.get(self._at("prefixes"))
        return None if data is None else prefixes_in(data)

    def shard(self, number: int) -> ShardOrder | None:
        """The files of a shard; None when the run is over."""
        data = self.handover.get(self._at(f"shard-{number}"))
        return None if data is None else ShardOrder.of(data)

    def hand_in(self, answer: ShardAnswer) -> None:
        """Hand over what became of a shard, or of a piece of it. What is left of it is the worker's own affair."""
        number = f"{answer.number}.{answer.piece:04}" if answer.piece else answer.number
        self._put(f"rows-{number}-{answer.report.worker}", replace(answer, rest=None).message())

    def hand_in_settled(self, settled: Settled | NotLoaded, orders: RunOrders, worker: str) -> None:
        number = [spec.name for spec in orders.job.specs].index(settled.model)
        self._put(f"settled-{number}-{worker}", settled.message(orders.store_id, orders.scan))

    @contextmanager
    def alive(self, worker: str, done: Mapping[str, int] | None = None) -> Iterator[Callable[[], bool]]:
        """Say that `worker` lives, how far its work has gone and how many images are `done`, every few seconds, while
        the block runs; gives a function that says whether the run has told it to stop, or has taken its sign away: it
        counts on it no more."""
        over, stopped, beats = threading.Event(), threading.Event(), 0

        def tell() -> None:
            nonlocal beats
            beats += 1
            said = {"beat": beats, "progress": str(progress()), "doing": doing(), "done": dict(done or {})}
            self._put(f"{worker}.alive", json.dumps(said).encode())
            if (told := self.handover.get(self._at("stop"))) is not None:
                stopped.set()
                if told:
                    stopping.ask()

        def beat() -> None:
            while not over.wait(ALIVE_SECONDS):
                with suppress(Exception):  # a network may fail for a moment
                    if self.handover.get(self._at(f"{worker}.alive")) is None:
                        stopped.set()
                        break
                    tell()

        with suppress(HandoverUnreachable):
            tell()
        thread = threading.Thread(target=beat, name="alive", daemon=True)
        thread.start()
        try:
            yield stopped.is_set
        finally:
            over.set()
            thread.join(ALIVE_SECONDS)

    def names(self) -> list[str]:
        """What lies here."""
        return [name.removeprefix(f"{self.name}/") if self.name else name for name in self.handover.names(self.name)]

    def patient(self, seconds: float = PATIENCE) -> RunPlace:
        """This place, asked again for up to so many seconds while it does not answer."""
        return replace(self, handover=Patient(self.handover, seconds))

    def _at(self, name: str) -> str:
        return f"{self.name}/{name}" if self.name else name

    def _put(self, name: str, data: bytes) -> None:
        self.handover.put(self._at(name), data)


def place_of(job: Job, store_id: str, run: int) -> tuple[RunPlace, str]:
    """The place of a run, and its whole name, as workers get it."""
    whole = job.handover_place
    name = f"{store_id}/{run}"
    at_run = f"{whole.rstrip('/')}/{name}"
    return RunPlace(handover_at(whole), name, at_run), at_run


def place_at(whole: str) -> RunPlace:
    """The place of a run by its whole name."""
    return RunPlace(handover_at(whole), whole=whole)

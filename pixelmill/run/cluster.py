"""Who embeds on a Dask or Ray cluster: each shard is a task of it, its rows the task's result; all are watched."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pixelmill.errors import SettingsError
from pixelmill.run.cluster_contract import Cluster, ClusterGone
from pixelmill.run.handoff import ALIVE_SECONDS
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.lost import LOST_SECONDS, life_of_all, why_cluster_lost, why_unreachable
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.piece import ShardPiece
from pixelmill.watch.clocks import Unchanged, past
from pixelmill.watch.stopping import asked, is_over

POLL_SECONDS = 0.5
AHEAD = 2
"""So many shards wait in the cluster for each process: enough that none is ever idle, and no more in memory."""
_TRIES: Final = 3
"""How often a shard is given out in one round."""
_SLOW: Final = 4.0
_SLOW_SECONDS: Final = 120.0
"""A shard that has taken so many times as long as the slowest so far, and so many seconds, goes to a second process."""
_GIVEN_BACK: Final = 6
"""So many shards in a row a process may give back, being of no use, before the others are taken to be gone."""


_kept: ContextVar[list[Cluster] | None] = ContextVar("kept", default=None)


@contextmanager
def cluster_kept() -> Iterator[None]:
    """Keep the cluster that a run works on from one round to the next, while the block runs."""
    kept: list[Cluster] = []
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for cluster in kept:
            cluster.close()


def run_on_cluster(orders: RunOrders, intake: Intake) -> Lost:
    """Have a cluster carry out the orders of a run; which shards were lost, and why."""
    kept = _kept.get()
    if kept is None:
        with cluster_kept():
            return run_on_cluster(orders, intake)
    if not kept:
        try:
            kept.append(_connected(orders.job))
        except ClusterGone as gone:
            return {orders.job.fan_out: why_unreachable(orders.job.cluster, str(gone))}
    lost = _Watched(kept[0], orders, intake).until_done()
    if lost:  # what failed once may do so because of the connection
        kept.pop().close()
    return lost


@contextmanager
def _asking() -> Iterator[None]:
    """Raises ClusterGone for what a cluster that is asked in the block raises."""
    try:
        yield
    except Exception as error:
        raise ClusterGone(_in_a_line(error)) from error


def _connected(job: Job) -> Cluster:
    try:
        if job.fan_out == "dask":
            from pixelmill.run.on_dask import DaskCluster

            with _asking():
                return DaskCluster(job)
        from pixelmill.run.on_ray import RayCluster

        with _asking():
            return RayCluster(job)
    except ImportError as error:
        raise SettingsError(
            f'Expected the package of fan_out = "{job.fan_out}": {error}. Install it: pip install '
            f'"pixelmill[{job.fan_out}]", on every machine of the cluster.'
        ) from error


@dataclass(slots=True)
class _Task:
    """A task that runs, or waits in the cluster: the shard that it does, or the number of the model that it settles."""

    what: str
    piece: ShardPiece | None
    since: float


class _Watched:
    """The tasks of one round."""

    def __init__(self, cluster: Cluster, orders: RunOrders, intake: Intake) -> None:
        self.cluster = cluster
        self.orders = orders
        self.intake = intake
        self.worker = orders.workers[0]
        self.unchanged = Unchanged(most=3 * ALIVE_SECONDS)
        self.lost: Lost = {}
        self._settling = deque(range(len(orders.settling.get(self.worker, ()))))
        self._waiting = deque(ShardPiece(shard, f, images=shard.images) for shard, f in orders.of(self.worker))
        self._running: dict[Any, _Task] = {}
        self._tries: Counter[ShardPiece] = Counter()
        self._slowest = 0.0
        """Seconds an image that a shard took, from when it was given to the cluster."""
        self._of_no_use: set[str] = set()
        self._given_back = 0
        self._processes = 1
        self._told_to_stop = False

    def until_done(self) -> Lost:
        try:
            self._all()
        except ClusterGone as gone:
            self._give_up(f"The cluster does not answer: {gone}.")
        return self.lost

    def _all(self) -> None:
        orders = self.orders
        given = self._shared(orders.message())
        shared = self._shared(self.intake.prefixes() if self._waiting else None)
        while self._waiting or self._settling or self._running:
            if past(orders.job.deadline):
                self._waiting.clear()
                self._settling.clear()
            if asked() and self._is_over():
                break
            self._submit(given, shared)
            self._collect()
            if self._left and (why := self._why_lost()):
                self._give_up(why)
                break

    def _is_over(self) -> bool:
        """Have processes hand in what they have made; whether that has been waited for long enough."""
        if not self._told_to_stop:
            with _asking():
                self.cluster.stop((self.orders.store_id, self.orders.scan))
            self._told_to_stop = True
        for task in self._running if is_over() else ():
            self.cluster.drop(task)
        return is_over()

    @property
    def _left(self) -> int:
        return len(self._waiting) + len(self._settling) + len(self._running)

    def _give_up(self, why: str) -> None:
        self.lost[f"{self.orders.job.fan_out}, with {self._left} of {len(self.orders.shards)} shards"] = why
        for task in self._running:
            self.cluster.drop(task)

    def _shared(self, message: bytes | None) -> Any:
        if message is None:
            return None
        with _asking():
            return self.cluster.share(_array(message))

    def _why_lost(self) -> str:
        if self._given_back > _GIVEN_BACK * self._processes:
            return "Only processes that are of no use, as told, have taken shards up."
        job = self.orders.job
        life = life_of_all(self.cluster.signs(), self.unchanged, self._left, job.deadline)
        return why_cluster_lost(life, lost_seconds=LOST_SECONDS, start_seconds=job.worker_start_seconds)

    def _submit(self, given: Any, prefixes: Any) -> None:
        """Give the cluster as much as keeps it busy; when nothing else is left, what takes too long once more."""
        with _asking():
            self._processes = max(self.cluster.processes(), 1)
        while len(self._running) < AHEAD * self._processes and (self._settling or self._waiting):
            if self._settling:
                number = self._settling.popleft()
                with _asking():
                    task = self.cluster.submit(given, prefixes, self.worker, number, None, self._seconds_left())
                self._running[task] = _Task(f"model {number}", None, time.monotonic())
                continue
            self._give(given, prefixes, self._waiting.popleft())
        for one in () if self._waiting else self._too_slow():
            self._give(given, prefixes, one)

    def _give(self, given: Any, prefixes: Any, piece: ShardPiece) -> None:
        self._tries[piece] += 1
        message = _array(piece.order or self.intake.order(piece.shard, piece.fingerprints).message())
        with _asking():
            task = self.cluster.submit(
                given, prefixes, self.worker, None, message, self._seconds_left(), avoided=self._avoided()
            )
        self._running[task] = _Task(str(piece), piece, time.monotonic())

    def _avoided(self) -> set[str]:
        """The processes that get no more shards: they would take them up faster than others do."""
        left_out = self.orders.left_out
        return self._of_no_use | {place for place in self.cluster.signs() if f"{self.worker}, {place}" in left_out}

    def _seconds_left(self) -> float | None:
        deadline = self.orders.job.deadline
        return None if deadline is None else deadline - time.time()

    def _too_slow(self) -> list[ShardPiece]:
        """The shards that have taken a multiple of the time of the slowest one so far: a second process may be faster.
        Whoever is second is not counted."""
        if not self._slowest or self._processes < 2 or past(self.orders.job.deadline):
            return []
        now, running = time.monotonic(), Counter(task.what for task in self._running.values())
        return [
            task.piece
            for task in self._running.values()
            if task.piece and running[task.what] == 1 and self._tries[task.piece] < _TRIES
            and now - task.since > max(_SLOW_SECONDS, _SLOW * self._slowest * task.piece.images)
        ]  # fmt: skip

    def _collect(self) -> None:
        """Take in what has ended; which failed, and why."""
        name = self.orders.job.fan_out
        with _asking():
            done = self.cluster.done(list(self._running))
        for key in done:
            task = self._running.pop(key, None)
            if task is None:  # another was faster, just now
                continue
            try:
                data = self.cluster.result(key).tobytes()
            except Exception as error:
                self.lost[f"{name}, {task.what}"] = f"{_in_a_line(error)}."
                continue
            if task.piece is None:
                self.intake.take_settled_message(data, f"{task.what}, which {name} has handed in", name)
            else:
                self._take(data, task, task.piece)

    def _take(self, data: bytes, task: _Task, piece: ShardPiece) -> None:
        if not data:  # a process that was of no use before
            self._given_back += 1
            self._waiting.append(piece)
            return
        what = f"{task.what}, which {self.orders.job.fan_out} has handed in"
        answer = self.intake.take_message(data, what, beside=self._processes)
        if answer is not None and answer.report.is_of_use:
            rest = answer.rest
            done = piece.images - (rest.images if rest else 0)
            self._given_back = 0
            self._slowest = max(self._slowest, (time.monotonic() - task.since) / max(done, 1))
            for key in [key for key, other in self._running.items() if other.piece == piece]:
                del self._running[key]
                self.cluster.drop(key)
            self._of_no_use.discard(answer.report.place)
            if rest:
                self._waiting.appendleft(piece.followed_by(rest))
            return
        if answer is not None:
            self._of_no_use.add(answer.report.place)
        if self._processes > 1 and self._tries[piece] < _TRIES:
            self._waiting.append(piece)


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def _array(data: bytes) -> np.ndarray:
    """Bytes as an array, which travels out of band, without copies."""
    return np.frombuffer(data, np.uint8)

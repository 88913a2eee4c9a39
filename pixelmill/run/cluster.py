"""Who embeds on a Dask or Ray cluster: each shard is a task of it, its rows the task's result; all are watched."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from pixelmill.errors import SettingsError
from pixelmill.run.handoff import ALIVE_SECONDS, Sign
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.lost import LOST_SECONDS, life_of_all, why_cluster_lost
from pixelmill.run.orders import RunOrders
from pixelmill.run.rounds import Lost
from pixelmill.watch.clocks import Unchanged

POLL_SECONDS = 0.5
AHEAD = 2
"""So many shards wait in the cluster for each process: enough that none is ever idle, and no more in memory."""


class Cluster(Protocol):
    """What is asked of a cluster."""

    def share(self, data: np.ndarray) -> Any:
        """Bring bytes to the cluster once, for all tasks; what tasks are handed for them."""

    def submit(self, *given: Any) -> Any:
        """Have `pixelmill.run.remote.embed_remotely` called by some process of it; what its result is asked of."""

    def done(self, tasks: list[Any]) -> list[Any]:
        """Those that have ended, waited for a moment."""

    def result(self, task: Any) -> np.ndarray:
        """The result of one that has ended; raises what it raised."""

    def drop(self, task: Any) -> None:
        """Take a task away, which may never have begun."""

    def signs(self) -> Mapping[str, Sign]:
        """The last signs of life of its processes, by their names."""

    def close(self) -> None: ...


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
        kept.append(_connected(orders.job))
    lost = _Watched(kept[0], orders, intake).until_done()
    if lost:  # what failed once may do so because of the connection
        kept.pop().close()
    return lost


def _connected(job: Job) -> Cluster:
    try:
        if job.fan_out == "dask":
            from pixelmill.run.on_dask import DaskCluster

            return DaskCluster(job)
        from pixelmill.run.on_ray import RayCluster

        return RayCluster(job)
    except ImportError as error:
        raise SettingsError(
            f'Expected the package of fan_out = "{job.fan_out}": {error}. Install it: pip install '
            f'"pixelmill[{job.fan_out}]", on every machine of the cluster.'
        ) from error


class _Watched:
    """The tasks of one round."""

    def __init__(self, cluster: Cluster, orders: RunOrders, intake: Intake) -> None:
        self.cluster = cluster
        self.orders = orders
        self.intake = intake
        self.unchanged = Unchanged(most=3 * ALIVE_SECONDS)
        self.running: dict[Any, str] = {}
        self.lost: Lost = {}

    def until_done(self) -> Lost:
        orders, intake = self.orders, self.intake
        worker = orders.workers[0]
        given = self.cluster.share(_array(orders.message()))
        prefixes = intake.prefixes() if orders.shares else None
        shared = None if prefixes is None else self.cluster.share(_array(prefixes))
        waiting = deque(orders.of(worker))
        settling = deque(range(len(orders.settling.get(worker, ()))))
        while waiting or settling or self.running:
            while len(self.running) < AHEAD * orders.job.parallel and (waiting or settling):
                if settling:
                    number = settling.popleft()
                    self.running[self.cluster.submit(given, shared, worker, number, None)] = f"model {number}"
                    continue
                shard, fingerprints = waiting.popleft()
                message = _array(intake.order(shard, fingerprints).message())
                self.running[self.cluster.submit(given, shared, worker, None, message)] = f"shard {shard.number}"
            self._collect()
            left = len(waiting) + len(settling) + len(self.running)
            life = life_of_all(self.cluster.signs(), self.unchanged, left, orders.job.deadline)
            why = why_cluster_lost(life, lost_seconds=LOST_SECONDS, start_seconds=orders.job.worker_start_seconds)
            if left and why:
                self.lost[f"{orders.job.fan_out}, with {left} of {len(orders.shards)} shards"] = why
                for task in self.running:
                    self.cluster.drop(task)
                break
        return self.lost

    def _collect(self) -> None:
        """Take in what has ended; which failed, and why."""
        name = self.orders.job.fan_out
        for task in self.cluster.done(list(self.running)):
            what = self.running.pop(task)
            try:
                data = self.cluster.result(task).tobytes()
            except Exception as error:
                self.lost[f"{name}, {what}"] = f"{type(error).__name__}: {error}"
                continue
            if what.startswith("model"):
                self.intake.take_settled_message(data, f"{what}, which {name} has handed in", name)
            else:
                self.intake.take_message(data, f"{what}, which {name} has handed in")


def _array(data: bytes) -> np.ndarray:
    """Bytes as an array, which travels out of band, without copies."""
    return np.frombuffer(data, np.uint8)

"""What a process of a cluster does: one shard at a time, with its models loaded once a run."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pixelmill.run.handoff import ALIVE_SECONDS, Sign
from pixelmill.run.job import Job
from pixelmill.run.loaded import release_models
from pixelmill.run.orders import RunOrders
from pixelmill.run.results import this_process
from pixelmill.run.worker import AtWork, OtherVectors
from pixelmill.travel.shard_order import ShardOrder, prefixes_in
from pixelmill.watch import stopping
from pixelmill.watch.calls import doing, progress
from pixelmill.watch.hangs import model_hangs

log = logging.getLogger(__name__)

_ENOUGH: Final = 2
"""After so many shards of which it could do nothing a process does no more: it gives what it gets back."""
_IDLE: Final = 300.0
"""Seconds without work after which a process gives its models' memory back: nobody tells it that a run is over."""
_PAUSE: Final = 10.0
"""Seconds for which it waits before: else it would take shards up faster than others do."""

Tell = Callable[[str, Sign], "Run | None"]
"""Give a sign of life; the run that is to stop, where that is how a process hears of it."""
Run = tuple[str, int]
"""Of which store, by its id, and which scan."""


def _is_left_out(orders: RunOrders, worker: str) -> bool:
    return f"{worker}, {this_process()}" in orders.left_out


@dataclass(slots=True)
class _Session:
    """The orders that this process works at."""

    key: bytes
    orders: RunOrders
    work: AtWork
    of_no_use: int = 0

    @property
    def run(self) -> Run:
        return self.orders.store_id, self.orders.scan


_session: _Session | None = None
_stopped: Run | None = None
_idle: threading.Timer | None = None
_one_at_a_time = threading.Lock()


def threads_each(job: Job) -> str:
    """How many threads the models have in each process of a cluster on this machine. Dask and Ray give them one,
    whatever the processors that nobody else would use."""
    return str(max(len(os.sched_getaffinity(0)) // job.cluster_size, 1))


def stop(run: Run) -> None:
    """Have this process bring what it does for a run to its end, and begin no more for it."""
    global _stopped
    _stopped = run
    if _session and _session.run == run:
        stopping.ask()


def embed_remotely(
    tell: Tell, orders: np.ndarray, prefixes: np.ndarray | None, worker: str, model: int | None,
    shard: np.ndarray | None, seconds_left: float | None,
) -> np.ndarray:  # fmt: skip
    """Settle a model of the orders, by its number, or do a shard: messages in, a message out."""
    with _one_at_a_time, _released_when_idle(), _signs(tell):
        session = _session_of(orders, prefixes, worker)
        if session.run == _stopped:
            stopping.ask()
        elif _stopped:
            stopping.forget()
        session.work.due_in(seconds_left)
        if model is not None:
            settled = session.work.settled(session.orders.settling[worker][model])
            return _array(settled.message(session.orders.store_id, session.orders.scan))
        return _array(_embedded(session, ShardOrder.of(_bytes(shard))))


@contextmanager
def _released_when_idle() -> Iterator[None]:
    """Do the block, and forget the session should nothing follow it for long."""
    global _idle
    if _idle:
        _idle.cancel()
    try:
        yield
    finally:
        _idle = threading.Timer(_IDLE, _forget)
        _idle.daemon = True
        _idle.start()


def _forget() -> None:
    global _session
    with _one_at_a_time:
        if threading.current_thread() is _idle:  # else something has followed just now
            _session = None
            release_models()


def _embedded(session: _Session, order: ShardOrder) -> bytes:
    work = session.work
    if session.of_no_use >= _ENOUGH or model_hangs() or _is_left_out(session.orders, work.worker):
        time.sleep(_PAUSE)
        return b""
    try:
        answer = work.embed(order)
    except OtherVectors as other:
        answer = work.refusal(order, other)
    report = answer.report
    session.of_no_use = 0 if report.is_of_use else session.of_no_use + 1
    return answer.message()


def _session_of(orders: np.ndarray, prefixes: np.ndarray | None, worker: str) -> _Session:
    """The session of these orders; another run's models are given up."""
    global _session
    data = _bytes(orders)
    key = hashlib.sha256(data + (b"" if prefixes is None else _bytes(prefixes))).digest()
    if _session is None or _session.key != key:
        read = RunOrders.of_message(data)
        if _session is None or _session.run != (read.store_id, read.scan):
            release_models()
        listed = None if prefixes is None else prefixes_in(_bytes(prefixes))
        _session = _Session(key, read, AtWork(read, worker, prefixes=listed))
    return _session


@contextmanager
def _signs(tell: Tell) -> Iterator[None]:
    """Say every few seconds that this process lives, and how far it has come, while the block runs."""
    over, beats = threading.Event(), 0

    def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            try:
                if run := tell(this_process(), Sign(time.time_ns(), str(progress()), doing())):
                    stop(run)
            except Exception as error:
                log.debug("a sign of life did not arrive: %s", error)
            if over.wait(ALIVE_SECONDS):
                return

    thread = threading.Thread(target=beat, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(ALIVE_SECONDS)


def _bytes(array: Any) -> bytes:
    return np.asarray(array).tobytes()


def _array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)

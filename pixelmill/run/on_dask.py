"""A Dask cluster: at an address, or of processes on this machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing import resource_tracker
from typing import Any

import dask
import numpy as np
from distributed import Client, LocalCluster, get_worker

from pixelmill.run.handoff import Sign
from pixelmill.run.job import Job
from pixelmill.run.remote import embed_remotely, stop, threads_each
from pixelmill.watch.ctrl_c import interrupts_blocked

_WAITED_SECONDS = 0.5
_LOOK_SECONDS = 0.02
_RETRIES = 3
_TOPIC = "pixelmill"
_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
"""Dask's setting of the variables of its processes; those that this process has come first."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo what Dask does to the environment of this process meanwhile: it leaves there what its processes are to have,
    which the next cluster would take for what somebody has said."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


class DaskCluster:
    """See `cluster_contract.Cluster`."""

    def __init__(self, job: Job) -> None:
        self._resources = {"GPU": 1} if job.device not in ("auto", "cpu") else {}
        self._local: LocalCluster | None = None
        resource_tracker.ensure_running()
        with dask.config.set(_settings(job)), _environment_kept(), interrupts_blocked():
            if job.cluster is None:
                self._local = LocalCluster(
                    n_workers=job.cluster_size, threads_per_worker=1, resources=self._resources, dashboard_address=None,
                    silence_logs=logging.ERROR,
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # it listens even without a dashboard
                )  # fmt: skip
            # Of a connection that is lost it tells with tracebacks of its own; the run tells of it in words.
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
            self._client = Client(job.cluster or self._local, set_as_default=False)
        self._signs: dict[str, Sign] = {}
        self._addresses: dict[str, str] = {}
        self._client.subscribe_topic(_TOPIC, self._hear)

    def _hear(self, event: Any) -> None:
        _, (place, address, sign) = event
        self._signs[place] = Sign(**sign)
        self._addresses[place] = address

    def share(self, data: np.ndarray) -> Any:
        # A task, not `scatter`: that needs a process there already, and what it brings is gone with the process.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "100 GiB"}):
            return self._client.submit(_as_it_is, data, pure=False)

    def submit(self, *given: Any, avoided: Collection[str] = ()) -> Any:
        others: list[str] = []
        if addresses := {self._addresses.get(place) for place in avoided}:
            others = [address for address in self._client.nthreads() if address not in addresses]
        return self._client.submit(
            _embed, *given, pure=False, retries=_RETRIES, resources=self._resources or None, workers=others or None
        )

    def done(self, tasks: list[Any]) -> list[Any]:
        end = time.monotonic() + _WAITED_SECONDS
        while not (done := [task for task in tasks if task.done()]) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        return done

    def result(self, task: Any) -> np.ndarray:
        try:
            result: np.ndarray = task.result()
            return result
        finally:
            task.release()

    def drop(self, task: Any) -> None:
        with suppress(Exception):
            task.cancel(force=True)

    def stop(self, run: tuple[str, int]) -> None:
        self._client.run(_stop, run, wait=False)

    def processes(self) -> int:
        return len(self._client.nthreads())

    def signs(self) -> Mapping[str, Sign]:
        return self._signs

    def close(self) -> None:
        self._client.close()
        if self._local:
            with _environment_kept():
                self._local.close()


def _settings(job: Job) -> dict[str, Any]:
    """What Dask is told of a job. Of each connection it keeps the last messages, a thousand if it is told nothing: the
    orders of as many shards."""
    environment = dask.config.get(_ENVIRONMENT) | {"MALLOC_ARENA_MAX": 1}  # else no freed memory is kept there
    return {
        "distributed.scheduler.worker-ttl": "5 minutes",
        "distributed.scheduler.no-workers-timeout": f"{job.worker_start_seconds:.0f}s",
        "distributed.admin.low-level-log-length": 10,
        _ENVIRONMENT: {**environment, **dict.fromkeys(_THREADS, threads_each(job))},
    }


async def _stop(run: tuple[str, int]) -> None:  # one that is not waited for has to be a coroutine
    stop(run)


def _as_it_is(data: np.ndarray) -> np.ndarray:
    return data


def _embed(*given: Any) -> np.ndarray:
    worker = get_worker()
    return embed_remotely(lambda place, sign: worker.log_event(_TOPIC, (place, worker.address, asdict(sign))), *given)

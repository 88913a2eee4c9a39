"""A Ray cluster: at an address, or of processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import ray

from pixelmill.run.handoff import ALIVE_SECONDS, Sign
from pixelmill.run.job import Job
from pixelmill.run.remote import embed_remotely, threads_each

_WAITED_SECONDS = 0.5
_RETRIES = 3
_THREADS = "OMP_NUM_THREADS"


@contextmanager
def _threads(job: Job) -> Iterator[None]:
    """What processes that Ray starts meanwhile are to know of threads, unless whoever runs this has said it."""
    if job.cluster or _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = threads_each(job)
    try:
        yield
    finally:
        del os.environ[_THREADS]


class _Signs:
    """An actor that keeps the last signs of life of all processes, and tells who gives one which run is to stop."""

    def __init__(self) -> None:
        self.last: dict[str, Sign] = {}
        self.stopped: tuple[str, int] | None = None

    def tell(self, place: str, sign: Sign) -> tuple[str, int] | None:
        self.last[place] = sign
        return self.stopped

    def stop(self, run: tuple[str, int]) -> None:
        self.stopped = run

    def all(self) -> dict[str, Sign]:
        return self.last


class RayCluster:
    """See `cluster_contract.Cluster`."""

    def __init__(self, job: Job) -> None:
        local: dict[str, Any] = {} if job.cluster else {"num_cpus": job.cluster_size, "include_dashboard": False}
        with _threads(job):
            ray.init(address=job.cluster or "local", log_to_driver=False, **local)
        self._gpus = 1 if job.device not in ("auto", "cpu") else 0
        self._embed = ray.remote(num_gpus=self._gpus, num_cpus=1, max_retries=_RETRIES)(_embed)
        self._told: Any = ray.remote(num_cpus=0)(_Signs).remote()
        self._last: dict[str, Sign] = {}

    def share(self, data: np.ndarray) -> Any:
        return ray.put(data)

    def submit(self, *given: Any, avoided: Collection[str] = ()) -> Any:  # Ray chooses by nodes alone
        return self._embed.remote(self._told, *given)

    def done(self, tasks: list[Any]) -> list[Any]:
        done, _ = ray.wait(tasks, timeout=_WAITED_SECONDS)
        return list(done)

    def result(self, task: Any) -> np.ndarray:
        result: np.ndarray = ray.get(task)
        return result

    def drop(self, task: Any) -> None:
        with suppress(Exception):
            ray.cancel(task, force=True)

    def stop(self, run: tuple[str, int]) -> None:
        self._told.stop.remote(run)

    def processes(self) -> int:
        found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return int(found.get("GPU" if self._gpus else "CPU", 0))

    def signs(self) -> Mapping[str, Sign]:
        with suppress(Exception):
            self._last = ray.get(self._told.all.remote(), timeout=5.0)
        return self._last

    def close(self) -> None:
        ray.shutdown()


def _embed(signs: Any, *given: Any) -> np.ndarray:
    return embed_remotely(lambda *sign: ray.get(signs.tell.remote(*sign), timeout=ALIVE_SECONDS), *given)

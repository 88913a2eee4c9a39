"""A cluster of one process, this one: what Dask or Ray would have it do is done at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from pixelmill.run.handoff import Sign
from pixelmill.run.job import Job
from pixelmill.run.remote import embed_remotely


class ClusterHere:
    """See `cluster_contract.Cluster`."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._results: dict[object, np.ndarray | Exception] = {}

    def share(self, data: np.ndarray) -> np.ndarray:
        return data

    def submit(self, *given: Any, avoided: Collection[str] = ()) -> object:
        task = object()
        try:
            self._results[task] = embed_remotely(lambda _place, _sign: None, *given)
        except Exception as error:
            self._results[task] = error
        return task

    def done(self, tasks: list[Any]) -> list[Any]:
        return tasks

    def result(self, task: Any) -> np.ndarray:
        result = self._results.pop(task)
        if isinstance(result, Exception):
            raise result
        return result

    def drop(self, task: Any) -> None:
        self._results.pop(task, None)

    def stop(self, run: tuple[str, int]) -> None:
        pass

    def processes(self) -> int:
        return 1

    def signs(self) -> Mapping[str, Sign]:
        return {}

    def close(self) -> None:
        self._results.clear()

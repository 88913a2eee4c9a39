"""What a run asks of a cluster, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from pixelmill.errors import PixelmillError
from pixelmill.run.handoff import Sign


class ClusterGone(PixelmillError):
    """A cluster that does not do what it is asked to."""


class Cluster(Protocol):
    """What is asked of a cluster. Whatever it raises, but for `result`, means that it is gone."""

    def share(self, data: np.ndarray) -> Any:
        """Bring bytes to the cluster once, for all tasks; what tasks are handed for them."""

    def submit(self, *given: Any, avoided: Collection[str] = ()) -> Any:
        """Have `pixelmill.run.remote.embed_remotely` called by some process of it, by none of the `avoided` ones if it
        has others and can choose; what its result is asked of."""

    def done(self, tasks: list[Any]) -> list[Any]:
        """Those that have ended, waited for a moment."""

    def result(self, task: Any) -> np.ndarray:
        """The result of one that has ended; raises what it raised."""

    def drop(self, task: Any) -> None:
        """Take a task away, which may never have begun."""

    def stop(self, run: tuple[str, int]) -> None:
        """Have `remote.stop` called with a run, the store's id and the scan, in each process of it, soon."""

    def processes(self) -> int:
        """How many tasks run at once."""

    def signs(self) -> Mapping[str, Sign]:
        """The last signs of life of its processes, by their names."""

    def close(self) -> None: ...

"""Clocks that do not take the own absence of a process for that of others."""

from __future__ import annotations

import time
from typing import Final

from pixelmill.watch import stopping

LOOK: Final = 0.2
"""Every so many seconds a look is taken at what is waited for."""


class RunningClock:
    """Seconds for which this process ran, as far as it looks often: between two looks at most `most` pass, so that a
    process that was stopped, or a machine that slept, does not take its own absence for that of others."""

    def __init__(self, most: float = 5 * LOOK) -> None:
        self._most = most
        self._looked = time.monotonic()
        self.last = 0.0

    def seconds(self) -> float:
        now = time.monotonic()
        self.last += min(now - self._looked, self._most)
        self._looked = now
        return self.last


class Unchanged:
    """For how long things have been as they are, on the clock of this process, whatever the clocks of others say."""

    def __init__(self, most: float) -> None:
        """`most`: see `RunningClock`; more than passes between two looks."""
        self._clock = RunningClock(most)
        self._seen: dict[str, tuple[object, float]] = {}

    def seconds(self, name: str, value: object) -> float:
        """For how long the thing called `name` has been `value`, as far as anybody looked."""
        now = self._clock.seconds()
        if name not in self._seen or self._seen[name][0] != value:
            self._seen[name] = value, now
        return now - self._seen[name][1]


def past(deadline: float | None) -> bool:
    """Whether a moment (Unix seconds; None: never) is over, or this process was asked to stop."""
    return stopping.asked() or (deadline is not None and time.time() >= deadline)

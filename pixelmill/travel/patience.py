"""A hand-over place that does not answer for a while: it is told of, and asked again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from pixelmill.errors import HandoverUnreachable
from pixelmill.travel.handover import Handover
from pixelmill.watch.calls import begin
from pixelmill.watch.clocks import RunningClock
from pixelmill.watch.stopping import asked, is_late

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE: Final = 1800.0
"""For so many seconds what was made is kept, and the place asked again, before it is given up."""
_PAUSE: Final = 10.0
_MOST: Final = 300.0


class Outage:
    """Something that does not answer, by `errors`, and for how long: its begin and its end are told in the log."""

    def __init__(self, *errors: type[Exception]) -> None:
        self.why = ""
        """What was said last; '' while it answers."""
        self.seconds = 0.0
        self._errors = errors
        self._clock = RunningClock(most=_MOST)
        self._began = 0.0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take note of whether it answers in the block; that it does not is no error."""
        try:
            yield
        except self._errors as error:
            now = self._clock.seconds()
            if not self.why:
                self._began = now
                log.warning("%s It is asked again.", error)
            self.why, self.seconds = str(error), now - self._began
        else:
            if self.why:
                log.warning("It answers again, after %.0f s: %s", self._clock.seconds() - self._began, self.why)
            self._clock.seconds()
            self.why, self.seconds = "", 0.0


class Patient:
    """A hand-over place that is asked again, for up to `seconds`, while it does not answer."""

    def __init__(self, handover: Handover, seconds: float = PATIENCE) -> None:
        self._handover = handover
        self._seconds = seconds

    def put(self, name: str, data: bytes) -> None:
        self._waited(lambda: self._handover.put(name, data))

    def get(self, name: str) -> bytes | None:
        return self._waited(lambda: self._handover.get(name))

    def names(self, below: str) -> Iterator[str]:
        yield from self._waited(lambda: list(self._handover.names(below)))

    def remove(self, name: str) -> None:
        self._waited(lambda: self._handover.remove(name))

    def clear(self, below: str) -> None:
        self._waited(lambda: self._handover.clear(below))

    def _waited(self, act: Callable[[], T]) -> T:
        outage = Outage(HandoverUnreachable)
        while True:
            begin("store", "the hand-over place")
            with outage.noted():
                return act()
            if outage.seconds > self._seconds or is_late():
                return act()
            time.sleep(1.0 if asked() else _PAUSE)

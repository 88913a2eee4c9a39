"""What a process is at, said in its log every some seconds: what goes on is told from what hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pixelmill.formatting import in_words

log = logging.getLogger(__name__)

EVERY = 15.0
"""Seconds between two lines."""
HowFar = Callable[[], str]
_at: list[Step] = []
_guard = threading.Lock()


class Step:
    """What is gone about, how far that is, and for how long it has gone on (in seconds of `clock`)."""

    def __init__(self, what: str, how_far: HowFar, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self._how_far, self._clock, self._since = what, how_far, clock, clock()

    def __str__(self) -> str:
        told = [self._how_far(), f"for {in_words(self._clock() - self._since)} now"]
        return f"{self.what}: {', '.join(filter(None, told))}"


@contextmanager
def saying(what: str, how_far: HowFar = str) -> Iterator[None]:
    """Say in the log that `what` is begun, and every 15 s, while the block runs, how far it is. Of blocks within each
    other the innermost one says it. Nothing is done where nobody reads it."""
    log.info("%s", what)
    step, over = Step(what, how_far), threading.Event()
    with _guard:
        _at.append(step)
        if len(_at) == 1 and log.isEnabledFor(logging.INFO):
            threading.Thread(target=_tell, args=(over,), name="saying", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with _guard:
            _at.remove(step)


def _tell(over: threading.Event) -> None:
    while not over.wait(EVERY):
        with _guard:
            step = _at[-1] if _at else None
        if step:
            log.info("%s", str(step))  # once: what it counts goes on

"""Whether somebody has asked this process to stop: then a run ends as at its deadline, and soon.

Prefect's worker and most service managers kill what has not ended half a minute after SIGTERM. So the batch at hand is
finished, what is embedded is stored, published and told of, and then the signal has its way.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LATE_SECONDS: Final = 10.0
"""So long after it was asked to stop, a run begins no further batch of what it has read."""
LEAVE_SECONDS: Final = 20.0
"""So long after that, what is still at work is left as it is: the rest of the time is for storing and telling."""
MOST_SECONDS: Final = 30.0
_PATIENCE: Final = 1.0
"""A second signal later than this is somebody who will not wait; sooner, it is `timeout`, which sends two."""

_since: float | None = None
_spent = 0.0


def ask() -> None:
    """Ask this process to stop."""
    global _since
    if _since is None:
        _since = time.monotonic()


def forget() -> None:
    """Forget that it was asked to."""
    global _since, _spent
    _since, _spent = None, seconds()


def asked() -> bool:
    """Whether this process was asked to stop."""
    return _since is not None


def seconds() -> float:
    """For how long it has been asked to; 0 if it is not."""
    return 0.0 if _since is None else time.monotonic() - _since


def is_late() -> bool:
    """Whether it was asked to so long ago that nothing more is to be begun."""
    return asked() and seconds() >= LATE_SECONDS


def is_over() -> bool:
    """Whether it was asked to so long ago that nothing is waited for any more."""
    return asked() and seconds() >= LEAVE_SECONDS


def granted() -> float:
    """Seconds that the end of a run took, or has taken so far, since it was asked to stop: at most MOST_SECONDS."""
    return min(seconds() if asked() else _spent, MOST_SECONDS)


def why_it_ends() -> str:
    """Why a run begins nothing more, as the beginning of a sentence."""
    return "The run was stopped" if asked() else "The deadline came"


@contextmanager
def heeded() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP in the block ask this process to stop; when the block is done, such a signal has the
    effect that it has outside. A second one has it at once. What is ignored stays so; other threads hear no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[int] = []
    before: dict[signal.Signals, Any] = {
        n: h for n in SIGNALS if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)
    }

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(number)
            ask()
            threading.Thread(target=_say, daemon=True).start()  # whoever is interrupted may hold the log's locks
        elif seconds() > _PATIENCE:
            first.clear()
            put_back()
            _carry_out(number, before[signal.Signals(number)], frame)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        put_back()
        forget()
        if first:
            _carry_out(first[0], before[signal.Signals(first[0])], None)


def _carry_out(number: int, handler: Any, frame: FrameType | None) -> None:
    if callable(handler):
        handler(number, frame)
    else:
        os.kill(os.getpid(), number)


def _say() -> None:
    log.warning(
        "Asked to stop: what is at hand is finished, and what is done is kept. A second signal ends it at once."
    )

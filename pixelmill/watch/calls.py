"""Calls that may hang, each in a thread that says by `begin` what it does next; one that says nothing new is left."""

from __future__ import annotations

import contextvars
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from pixelmill.watch import hangs, stopping
from pixelmill.watch.clocks import LOOK, RunningClock, past
from pixelmill.watch.hangs import COMPUTING, Hang, LeftBehind, Unanswered, leave
from pixelmill.watch.threads import Threads, wait_for

log = logging.getLogger(__name__)
T = TypeVar("T")

TOLD_SECONDS = 60.0
"""After so many seconds without anything new the log says what is waited for; again after twice as many, and so on."""
SILENT_SECONDS = 300.0
"""A file that does not answer for so long is left: a server that starts again takes some minutes. What waits for files
is left after a fifth more."""
COMPUTING_SECONDS = 1800.0
"""A model may take so long for one batch, or to be loaded."""
OVERTIME_SECONDS = 20.0
"""What hangs when the deadline comes gets so many seconds, or three times as many as the longest step took so far."""
LISTING_SECONDS = 60.0
"""A source that is looked through when the deadline comes, or after it, gets so many seconds to come to its end."""
_FAREWELL: Final = 5.0
"""Seconds that a call gets to end by itself when whoever waits for it is interrupted."""
_MOST: Final = 1000


class _Call(Generic[T]):
    """A function in a thread of its own, and the step that it is at."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.step = Hang("start", getattr(function, "__name__", "a call"))
        self.left = False
        self.future: Future[T] = Future()
        self._function = function
        self._context = contextvars.copy_context()

    def __call__(self) -> None:
        _mine.call = self
        try:
            self.future.set_result(self._context.run(self._function))
        except BaseException as error:
            self.future.set_exception(error)
        finally:
            _mine.call = None


_mine = threading.local()
_crew = Threads(1 << 30, "answer")
_steps = 0
_last = Hang("start", "")


def begin(stage: str, what: str, source: str = "") -> None:
    """Say what is done next: what was done before has come to its end. In a call that was left, this ends it."""
    global _steps, _last
    step = Hang(stage, what, source)
    call: _Call[Any] | None = getattr(_mine, "call", None)
    if call is not None:
        if call.left:
            raise LeftBehind
        call.step = step
    _steps, _last = _steps + 1, step


def go_on() -> None:
    """Say that what was begun goes forward."""
    call: _Call[Any] | None = getattr(_mine, "call", None)
    step = call.step if call is not None else _last
    begin(step.stage, step.what, step.source)


def progress() -> int:
    """How many steps this process has begun. While that stays the same, nothing goes forward."""
    return _steps


def doing() -> str:
    """What this process began last, in words."""
    return f"{_last.stage} {_last.what}"


def answer(function: Callable[[], T], *, deadline: float | None = None, worker: str = "", most: float = math.inf) -> T:
    """What `function` gives, called in a thread that is left if it begins nothing new for too long, or if it goes on
    for `most` seconds after the deadline.

    Raises Unanswered then. `function` says by `begin` what it does, and before it changes anything that others see.
    """
    call = _Call(function)
    _crew.give(call)
    patience = Patience(deadline, most)
    try:
        while not wait_for(call.future, LOOK):
            if patience.is_over(call.step):
                call.left = True
                hang = replace(call.step, worker=worker, seconds=patience.waited)
                leave(hang, call.future)
                _crew.replace()
                raise Unanswered(hang)
    except Unanswered:
        raise
    except BaseException:
        call.left = True
        wait_for(call.future, _FAREWELL)
        raise
    return call.future.result()


class Patience:
    """How long one step after the other is waited for, with or without a deadline; at `most` so many seconds after
    it."""

    def __init__(self, deadline: float | None, most: float = math.inf) -> None:
        self._deadline, self._most = deadline, most
        self._clock = RunningClock()
        self._step = Hang("", "")
        self._since = 0.0
        self._longest: dict[str, float] = {}
        self._overtime: float | None = None
        self._told = TOLD_SECONDS

    @property
    def waited(self) -> float:
        """Seconds for which the step has been waited for."""
        return self._clock.last - self._since

    def is_over(self, step: Hang) -> bool:
        """Whether `step` hangs. To be asked every LOOK; says in the log what is waited for."""
        now = self._clock.seconds()
        if step is not self._step:
            stage = self._step.stage
            self._longest[stage] = max(self._longest.get(stage, 0.0), now - self._since)
            self._step, self._since, self._told = step, now, TOLD_SECONDS
        if self._overtime is None and past(self._deadline):
            self._overtime = now
        self._tell(step)
        if stopping.asked():
            return stopping.is_over()
        if self._overtime is not None:
            if now - self._overtime >= self._most:
                return True
            overtime = max(OVERTIME_SECONDS, 3 * self._longest.get(step.stage, 0.0))
            return now - max(self._since, self._overtime) >= overtime
        return self.waited >= (COMPUTING_SECONDS if step.stage in COMPUTING else 1.2 * SILENT_SECONDS)

    def _tell(self, step: Hang) -> None:
        if self.waited >= self._told:
            log.warning("still waiting: %s", replace(step, seconds=self.waited))
            self._told *= 2


def items_in_time(items: Iterable[T], *, stage: str, what: str, deadline: float | None) -> Iterator[T]:
    """The items of an iterable, each batch of them made in a thread that is left if it hangs.

    Raises Unanswered then, after what was made by then, and when they have not ended in time after the `deadline`.
    """
    clock = RunningClock(most=60.0)
    came: float | None = None
    made: list[T] = []
    remaining = iter(items)

    def some() -> list[T]:
        nonlocal made
        made = mine = []
        end = time.monotonic() + LOOK
        begin(stage, what, what)
        for item in islice(remaining, _MOST):
            go_on()
            mine.append(item)
            if time.monotonic() > end:
                break
        return mine

    while True:
        try:
            batch = answer(some, deadline=deadline)
        except Unanswered:
            yield from list(made)
            raise
        if not batch:
            return
        yield from batch
        if came is None and past(deadline):
            came = clock.seconds()
        if came is not None and clock.seconds() - came >= LISTING_SECONDS:
            raise Unanswered(Hang(stage, what, what), f"{what}: the deadline came while it was looked through.")


def start_anew() -> None:
    """Forget threads and what hangs: those of a parent are not a forked process's."""
    global _crew
    _crew = Threads(_crew._most, "answer")
    hangs.forget()


os.register_at_fork(after_in_child=start_anew)

"""What this process waits for: calls in threads that can be left behind, so that nothing that hangs holds up a run.

A read from a dead server, a driver that is stuck: such a call never returns, and nobody can end it. So whatever may
hang is done in a daemon thread, says by `begin` what it does next, and is left when it has done nothing new for too
long.
"""

from __future__ import annotations

import atexit
import contextvars
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from queue import SimpleQueue
from typing import Any, Final, Generic, NoReturn, TypeVar

from pixelmill.errors import PixelmillError

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK: Final = 0.2
"""Every so many seconds a look is taken at what is waited for."""
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
_EXIT_SECONDS: Final = 60.0
"""Seconds that the exit of a process may take when something hangs."""
_MOST: Final = 1000

COMPUTING: Final = ("load", "embed")
"""The stages in which a model is at work; when one hangs, the process can do nothing more with its device."""


@dataclass(frozen=True, slots=True)
class Hang:
    """What did not answer: the stage ("list", "read", "decode", "load", "embed"), the file or model, the source that it
    is of, the worker that waited, and for how many seconds it did."""

    stage: str
    what: str
    source: str = ""
    worker: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        source = f" (source {self.source})" if self.source and self.source != self.what else ""
        worker = f" of worker {self.worker}" if self.worker else ""
        return f"{self.what}{source}: stage {self.stage!r}{worker} had no answer for {self.seconds:.0f} s."


class Unanswered(PixelmillError, OSError):
    """Something did not answer for too long, and was left as it was; `hang` says what. It may answer later."""

    def __init__(self, hang: Hang, words: str = "") -> None:
        super().__init__(words or str(hang))
        self.hang = hang


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


class LeftBehind(BaseException):
    """Ends a call that nobody waits for any more, at its next step."""


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


class Threads:
    """At most `most` daemon threads that do what they are given, in order. For one that hangs another can take its
    place, and a process ends without waiting for any."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._threads = self._open = 0
        self._guard = threading.Lock()
        self._given: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Have a function called; what becomes of it."""
        future: Future[T] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args))
                except BaseException as error:
                    future.set_exception(error)

        self.give(call)
        return future

    def give(self, call: Callable[[], object]) -> None:
        """Have a call made, which raises nothing."""
        with self._guard:
            self._open += 1
            self._given.put(call)
            self._man()

    def replace(self) -> None:
        """Let another thread take the place of one that hangs."""
        with self._guard:
            self._most += 1
            self._man()

    def close(self) -> None:
        """Let the threads end when they have done what they were given. Nobody waits for them."""
        with self._guard:
            for _ in range(self._threads):
                self._given.put(None)

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _man(self) -> None:
        if self._threads < min(self._open, self._most):
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while call := self._given.get():
            call()
            del call  # what it holds is not kept until the next one comes
            with self._guard:
                self._open -= 1


_mine = threading.local()
_crew = Threads(1 << 30, "answer")
_left: list[tuple[Hang, Future[Any]]] = []
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


def past(deadline: float | None) -> bool:
    """Whether a moment (Unix seconds; None: never) is over."""
    return deadline is not None and time.time() >= deadline


def leave(hang: Hang, future: Future[Any]) -> None:
    """Put on record that nobody waits any more for what became of `future`, because it hangs."""
    log.warning("left behind: %s", hang)
    _left.append((hang, future))


def hanging(source: str | None = None) -> list[Hang]:
    """What was left and hangs still; of these, if one is given, those that wait for `source`."""
    return [hang for hang, future in _left if not future.done() and (source is None or hang.source == source)]


def model_hangs() -> bool:
    """Whether a model was left in the middle of its work: then its device does not answer."""
    return any(hang.stage in COMPUTING for hang in hanging())


def answer(function: Callable[[], T], *, deadline: float | None = None, worker: str = "") -> T:
    """What `function` gives, called in a thread that is left if it begins nothing new for too long.

    Raises Unanswered then. `function` says by `begin` what it does, and before it changes anything that others see.
    """
    call = _Call(function)
    _crew.give(call)
    patience = Patience(deadline)
    try:
        while not wait_for(call.future, LOOK):
            if patience.is_over(call.step):
                call.left = True
                hang = replace(call.step, worker=worker, seconds=patience.waited)
                leave(hang, call.future)
                raise Unanswered(hang)
    except Unanswered:
        raise
    except BaseException:
        call.left = True
        wait_for(call.future, _FAREWELL)
        raise
    return call.future.result()


class Patience:
    """How long one step after the other is waited for, with or without a deadline."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
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
        if self._overtime is not None:
            overtime = max(OVERTIME_SECONDS, 3 * self._longest.get(step.stage, 0.0))
            return now - max(self._since, self._overtime) >= overtime
        return self.waited >= (COMPUTING_SECONDS if step.stage in COMPUTING else 1.2 * SILENT_SECONDS)

    def _tell(self, step: Hang) -> None:
        if self.waited >= self._told:
            log.warning("still waiting: %s", replace(step, seconds=self.waited))
            self._told *= 2


def patiently(items: Iterable[T], *, stage: str, what: str, deadline: float | None) -> Iterator[T]:
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


def leave_process(code: int) -> NoReturn:
    """End this process with an exit code. What hangs would hold up the usual way out."""
    if not hanging():
        sys.exit(code)
    _hasten()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def ending_after(deadline: float | None, grace: float = 600.0) -> Iterator[None]:
    """End this process if the block still runs `grace` seconds after its deadline: the store itself may hang, so that
    nothing can be published or told any more."""
    over = threading.Event()
    if deadline is not None:
        threading.Thread(target=_end_after, args=(deadline, grace, over), name="deadline", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _end_after(deadline: float, grace: float, over: threading.Event) -> None:
    clock = RunningClock(most=5.0)
    came: float | None = None
    while came is None or clock.seconds() - came < grace:
        if over.wait(1.0):
            return
        if came is None and past(deadline):
            came = clock.seconds()
    log.critical(
        "The run is %.0f s past its deadline and cannot end: it hangs at %s. It is ended now; what was committed is "
        "stored, and the next run does the rest.", grace, doing(),
    )  # fmt: skip
    os._exit(1)


def _hasten() -> None:
    """See to it that this process, which has begun to exit, ends: what hangs may hold that up."""
    if hanging():
        faulthandler.dump_traceback_later(_EXIT_SECONDS, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - stays open


threading._register_atexit(_hasten)  # type: ignore[attr-defined]  # before threads are waited for, unlike atexit


def start_anew() -> None:
    """Forget threads and what hangs: those of a parent are not a forked process's."""
    global _crew
    _crew = Threads(_crew._most, "answer")
    _left.clear()


os.register_at_fork(after_in_child=start_anew)


def wait_for(future: Future[Any], seconds: float) -> bool:
    """Whether a future is done, within so many seconds."""
    try:
        future.exception(timeout=seconds)
    except TimeoutError:
        return future.done()
    return True

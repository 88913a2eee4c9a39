"""Threads that nobody has to wait for: one that hangs is replaced, and a process ends without it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar
from weakref import WeakSet

T = TypeVar("T")

FINISH_SECONDS: Final = 5.0
"""Seconds that a process which ends gives the threads that are at work."""


class Threads:
    """At most `most` daemon threads that do what they are given, in order. For one that hangs another can take its
    place, and a process ends without waiting for any."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._threads = self._open = self._given_up = 0
        self._guard = threading.Lock()
        self._given: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        _all.add(self)

    @property
    def is_busy(self) -> bool:
        """Whether there is work that may come to an end."""
        return self._open > self._given_up

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
            self._given_up += 1
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


_all: WeakSet[Threads] = WeakSet()


def let_finish() -> None:
    """A thread that is in the middle of a computation when Python ends takes the process down with SIGABRT: PyTorch's
    frames cannot be unwound."""
    end = time.monotonic() + FINISH_SECONDS
    while any(threads.is_busy for threads in list(_all)) and time.monotonic() < end:
        time.sleep(0.01)


atexit.register(let_finish)
os.register_at_fork(after_in_child=_all.clear)  # a parent's threads are not a forked process's


def wait_for(future: Future[Any], seconds: float) -> bool:
    """Whether a future is done, within so many seconds."""
    try:
        future.exception(timeout=seconds)
    except TimeoutError:
        return future.done()
    return True

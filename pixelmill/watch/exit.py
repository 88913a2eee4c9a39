"""The end of a process in which something hangs, or is still at work."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from pixelmill.watch.calls import doing
from pixelmill.watch.clocks import RunningClock, past
from pixelmill.watch.hangs import hanging, hasten_exit
from pixelmill.watch.threads import let_finish

log = logging.getLogger(__name__)


def leave_process(code: int, *, at_once: bool = False) -> NoReturn:
    """End this process with an exit code. What hangs would hold up the usual way out. A model in the middle of a batch
    crashes on it, as the interpreter goes away below its thread: where one may be at work, it is left `at_once`."""
    if not (at_once or hanging()):
        sys.exit(code)
    hasten_exit()
    atexit.unregister(let_finish)  # no thread is torn down
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

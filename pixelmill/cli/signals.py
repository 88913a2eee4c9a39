"""Ctrl-C, `kill` and a closed terminal end a command soon and in one sentence, whatever it is waiting for."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 10.0
"""To end in order, beside what a run is `_granted`. A process that is killed then loses nothing that was committed."""
_PATIENCE = 1.0
"""A second Ctrl-C later than this is a person who will not wait; sooner, it is `timeout`, which sends two."""
_STOPPED = "Stopped. What was committed is kept; run again to go on."
_said = threading.Lock()


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def heard() -> Iterator[None]:
    """A signal raises Stopped in the block, once; a process that does not end then is ended.

    What was ignored when the process began (`nohup`, a job in the background) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mine = [number for number in SIGNALS if before[number] != signal.SIG_IGN]
    inside, outside = socket.socketpair()
    outside.setblocking(False)
    threading.Thread(target=_watch, args=(inside, mine), daemon=True).start()
    # The kernel's word that a signal came: it is heard though the main thread hangs, and whoever else handles it.
    told = signal.set_wakeup_fd(outside.fileno(), warn_on_full_buffer=False)

    def put_back() -> None:
        signal.set_wakeup_fd(told)  # ahead of the close: a signal is written into whatever has that number next
        outside.close()
        for number in mine:
            signal.signal(number, before[number])

    for number in mine:
        signal.signal(number, _once)
    try:
        yield
    except KeyboardInterrupt:
        outside.detach()  # whatever still holds this process up is ended by the watch
        raise
    except BaseException:
        put_back()
        raise
    put_back()


def exit_code(stop: BaseException) -> int:
    """128 and the signal's number, as shells count."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def say_stopped() -> None:
    """Say so on stderr, once; to nobody where nobody hears it."""
    if _said.acquire(blocking=False):
        shown_again = "\x1b[?25h" if os.isatty(2) else ""  # the cursor, which a progress bar hides
        with suppress(OSError):  # a terminal that was closed takes no more
            os.write(2, f"{shown_again}{_STOPPED}\n".encode())


def _once(number: int, _frame: object) -> None:
    for known in SIGNALS:
        if signal.getsignal(known) is _once:
            signal.signal(known, lambda *_: None)  # what tidies up is not torn away
    if progress := sys.modules.get("pixelmill.progress"):
        progress.be_still()
    raise Stopped(number)


def _watch(inside: socket.socket, mine: list[signal.Signals]) -> None:
    number = _next(inside, mine)
    if not number:
        return
    began = time.monotonic()
    while (left := began + GRACE_SECONDS + _granted() - time.monotonic()) > 0:
        inside.settimeout(min(left, 0.5))
        try:
            again = _next(inside, [signal.SIGINT])
        except TimeoutError:
            continue
        if not again:
            return
        if time.monotonic() - began > _PATIENCE:
            break
    say_stopped()
    os._exit(128 + number)


def _granted() -> float:
    """Seconds that a run has more, which finishes what is at hand and stores it."""
    stopping = sys.modules.get("pixelmill.watch.stopping")
    return stopping.granted() if stopping else 0.0


def _next(inside: socket.socket, mine: list[signal.Signals]) -> int:
    """The next of these signals; 0 when nobody listens any more."""
    while received := inside.recv(1):
        if received[0] in mine:
            return received[0]
    return 0

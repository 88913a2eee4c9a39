"""Ctrl-C, which a terminal sends to all processes in the foreground, is for the one that started the others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Processes that are started meanwhile, and by threads that are, do not hear Ctrl-C from their first instruction
    on: this one does when the block is done, and ends them, or has them hand in what they have made.

    What multiprocessing starts in Python 3.11 needs `resource_tracker.ensure_running()` before: that lets them through
    again.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

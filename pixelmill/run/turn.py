"""One run at a time on a store: whoever comes second waits, and then does what the first has left."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pixelmill.errors import StoreBusy
from pixelmill.formatting import in_words as duration
from pixelmill.formatting import moment, printable
from pixelmill.store.durable import make_folder_durably
from pixelmill.store.lock import in_words
from pixelmill.store.master import home_of
from pixelmill.store.newer import refuse_newer
from pixelmill.watch.clocks import LOOK, past
from pixelmill.watch.saying import saying

log = logging.getLogger(__name__)

TURN = ".run"
TELL_EVERY = 600.0
"""Seconds between two words of somebody who waits."""
_MOST_BYTES = 1024


@contextmanager
def turn(store: Path, deadline: float | None = None) -> Iterator[None]:
    """Be the only run on a store while the block goes on; the turn of a process that was killed is over at once.

    Only runs take turns: whatever else reads or writes the store does not wait for them. Raises StoreBusy if the
    `deadline` (Unix seconds) comes first, StoreError where the store's folder cannot be made, written to or locked.
    """
    folder = home_of(store)
    refuse_newer(folder)
    with in_words(folder):
        make_folder_durably(folder)
        descriptor = os.open(folder / TURN, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with in_words(folder), saying("Taking a turn on the store", lambda: _holder(descriptor)):
            _wait(descriptor, folder, deadline)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes forked meanwhile would keep it
    finally:
        os.close(descriptor)


def _wait(descriptor: int, folder: Path, deadline: float | None) -> None:
    began, told = time.monotonic(), 0
    while not _taken(descriptor):
        waited = time.monotonic() - began
        if past(deadline):
            raise StoreBusy(
                f"Expected a turn on {folder} in time. Another run has it still, {_holder(descriptor)}. "
                "Nothing was begun: the next run does what that one leaves."
            )
        if waited >= told * TELL_EVERY:
            so_far = f", for {duration(waited)} by now" if told else ""
            log.warning("waiting for another run on %s, %s%s", folder, _holder(descriptor), so_far)
            told += 1
        time.sleep(LOOK)
    if told:
        log.warning("waited %s for another run on %s", duration(time.monotonic() - began), folder)
    _sign(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int) -> None:
    """Say whose turn it is, for those who wait."""
    words = f"process {os.getpid()} on {socket.gethostname()} since {moment(datetime.now().isoformat())}"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, os.fsencode(words), 0)


def _holder(descriptor: int) -> str:
    return printable(os.fsdecode(os.pread(descriptor, _MOST_BYTES, 0))) or "which has just begun"

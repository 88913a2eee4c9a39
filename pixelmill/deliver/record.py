"""What a store keeps of its deliveries: whose turn it is, and what came of the last one.

STORE/deliveries/<name>.lock   locked by the process that delivers
STORE/deliveries/<name>.json   the last delivery, for who asks while its target is down
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryLeft, StoreError
from pixelmill.store.durable import make_folder_durably, write_durably
from pixelmill.store.lock import in_words
from pixelmill.store.master import home_of
from pixelmill.watch.clocks import LOOK, RunningClock
from pixelmill.watch.saying import saying

FOLDER: Final = "deliveries"


@contextmanager
def turn(
    store: Path, name: str, is_over: Callable[[], bool] = lambda: False, *, most: float = math.inf
) -> Iterator[bool]:
    """Be the only process that delivers this delivery while the block goes on; who comes second waits. False if it
    `is_over` before it is its turn. Raises StoreError where the store's folder cannot be written or locked, and
    DeliveryLeft after waiting for `most` seconds."""
    folder = home_of(store) / FOLDER
    with in_words(home_of(store)):
        make_folder_durably(folder)
        descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with in_words(home_of(store)):
            is_ours = _wait(descriptor, name, is_over, most)
        try:
            yield is_ours
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes forked meanwhile would keep it
    finally:
        os.close(descriptor)


def _wait(descriptor: int, name: str, is_over: Callable[[], bool], most: float) -> bool:
    if _taken(descriptor):
        return True
    clock = RunningClock()
    with saying(f"Waiting for another process that delivers {name}"):
        while not is_over():
            time.sleep(LOOK)
            if _taken(descriptor):
                return True
            if clock.seconds() >= most:
                raise DeliveryLeft(
                    f"Expected to be the only one that delivers {name!r}. Another process, or one before in this, has "
                    f"been at it for {most:.0f} s or longer. The next one goes on."
                )
    return False


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last(store: Path, name: str) -> Delivered | None:
    """What came of the last delivery of that name; None if that is not on record."""
    return _read(home_of(store) / FOLDER / f"{name}.json")


def on_record(store: Path) -> list[Delivered]:
    """What came of the last delivery of each name, by name; also of those that nobody makes any more."""
    files = sorted((home_of(store) / FOLDER).glob("*.json"))
    return [kept for file in files if (kept := _read(file)) is not None]


def _read(file: Path) -> Delivered | None:
    try:
        return Delivered.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def remember(store: Path, delivered: Delivered) -> None:
    """Keep what came of a delivery. Where the store cannot be written it is not kept."""
    with suppress(StoreError, OSError):
        write_durably(home_of(store) / FOLDER / f"{delivered.name}.json", delivered.model_dump_json().encode())

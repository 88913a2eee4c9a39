"""What hangs: what it is, and what was left behind because of it, on record for as long as it hangs."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from pixelmill.errors import PixelmillError

log = logging.getLogger(__name__)

COMPUTING: Final = ("load", "embed")
"""The stages in which a model is at work; when one hangs, the process can do nothing more with its device."""

DELIVERING: Final = "deliver"
"""The stage of a delivery, which tells itself of its target that hangs."""
_EXIT_SECONDS: Final = 60.0
"""Seconds that the exit of a process may take when something hangs."""


@dataclass(frozen=True, slots=True)
class Hang:
    """What did not answer: the stage ("list", "read", "decode", "load", "embed", "deliver"), the file, model or target,
    the source that it is of, the worker that waited, and for how many seconds it did."""

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


class LeftBehind(BaseException):
    """Ends a call that nobody waits for any more, at its next step."""


_left: list[tuple[Hang, Future[Any]]] = []


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


def forget() -> None:
    """Forget what hangs: what a parent has left is not a forked process's."""
    _left.clear()


def hasten_exit() -> None:
    """See to it that this process, which has begun to exit, ends: what hangs may hold that up."""
    if hanging():
        faulthandler.dump_traceback_later(_EXIT_SECONDS, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - stays open


threading._register_atexit(hasten_exit)  # type: ignore[attr-defined]  # before threads are waited for, unlike atexit

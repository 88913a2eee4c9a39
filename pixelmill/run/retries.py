"""Which failures may pass when a step of a run is tried again, how often that is, and after what pauses."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from pixelmill.errors import PixelmillError, StoreBusy, TargetUnavailable, WeightsUnavailable
from pixelmill.watch.clocks import LOOK
from pixelmill.watch.stopping import asked

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

_BUGS: Final = (TypeError, AttributeError, NameError, AssertionError, ImportError, NotImplementedError)
"""What a mistake in a program raises, each time again."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Seconds before each further try, and by what share of it a pause is longer or shorter at random, so that many
    who wait for one thing do not come back at once."""

    pauses: tuple[float, ...]
    scatter: float = 0.0

    def around(self, step: Callable[P, T], what: str = "") -> Callable[P, T]:
        """`step`, tried again for as long as what it raises may pass; the last try's error is raised."""

        @wraps(step)
        def tried(*args: P.args, **kwargs: P.kwargs) -> T:
            for usual in self.pauses:
                try:
                    return step(*args, **kwargs)
                except Exception as error:
                    if asked() or not may_pass(error):
                        raise
                    seconds = usual * random.uniform(1 - self.scatter, 1 + self.scatter)
                    _say(what or step.__name__, error, seconds)
                pause(seconds)
            return step(*args, **kwargs)

        return tried


def growing(times: int, first: float) -> Retries:
    """So many further tries, each after twice the pause of the one before, scattered by half."""
    return Retries(tuple(first * 2**n for n in range(times)), scatter=0.5)


DOWNLOAD: Final = growing(4, 2.0)
SHARD: Final = growing(3, 5.0)
DELIVERY: Final = growing(3, 5.0)
STORE: Final = Retries((5.0, 5.0))
"""For the steps that do nothing but look at sources and keep books."""


def may_pass(error: BaseException) -> bool:
    """Whether what failed is worth another try: not where Pixelmill says that the cause will stay, nor for a bug."""
    if isinstance(error, PixelmillError):
        return isinstance(error, WeightsUnavailable | StoreBusy | TargetUnavailable)
    return isinstance(error, Exception) and not isinstance(error, _BUGS)


def pause(seconds: float) -> None:
    """Nobody who asks this process to stop waits for it."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not asked():
        time.sleep(min(left, LOOK))


def _say(what: str, error: Exception, seconds: float) -> None:
    said = str(error).rstrip(".")
    log.warning("%s failed: %s: %s. It is tried again in %.0f s.", what, type(error).__name__, said, seconds)

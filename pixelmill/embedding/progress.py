"""How far a run has come, and who is told of it: whoever listens around it, however deep it is called."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from pixelmill.formatting import in_words

SEEN = ""
"""Stands for a model where images are found, not embedded."""
OnImages = Callable[[str, int], None]
"""Called with the name of a model and how many more images it has embedded, in the thread that embeds; with SEEN for
those that were found in the sources."""

_listener: ContextVar[OnImages | None] = ContextVar("on_images", default=None)


@contextmanager
def telling(on_images: OnImages, *, alone: bool = False) -> Iterator[None]:
    """Have `on_images` told of images in the block, also in threads that `watch.calls.answer` calls for it, and whoever
    listens around the block as well, unless it is none of their concern (`alone`)."""
    around = None if alone else _listener.get()

    def both(model: str, images: int) -> None:
        on_images(model, images)
        if around is not None:
            around(model, images)

    token = _listener.set(both)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(model: str, images: int) -> None:
    """Say that a model has embedded so many more images, or that so many more were SEEN."""
    if (on_images := _listener.get()) is not None:
        on_images(model, images)


RECENT = 120.0
"""Seconds over which images a second are counted."""
_MARK = 2.0
"""Seconds between two counts that are remembered for that."""


class Progress:
    """How far images have come, by model: how many are done, how many a second lately, how long the rest will take.

    Several threads may use it. `clock` gives seconds that never go back.
    """

    def __init__(self, totals: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self._clock = clock
        self._guard = threading.Lock()
        self._marks: dict[str, deque[tuple[float, int]]] = {}
        self.expect(totals)

    def expect(self, more: Mapping[str, int]) -> None:
        """So many images are to be embedded from here on; what was to be done so far, and was not, counts no more."""
        with self._guard:
            self.totals = dict(self.done)
            for model, images in more.items():
                self.totals[model] = self.totals.get(model, 0) + images
                self.done.setdefault(model, 0)
                self._marks.setdefault(model, deque())

    def add(self, model: str, images: int) -> None:
        """So many more are done. A model of which nothing is expected does not count."""
        with self._guard:
            if model not in self.done:
                return
            self.done[model] += images
            now, marks = self._clock(), self._marks[model]
            if not marks or now - marks[-1][0] >= _MARK:
                marks.append((now, self.done[model]))
            while len(marks) > 2 and now - marks[1][0] >= RECENT:
                marks.popleft()

    @property
    def percent(self) -> float:
        """Of all images, by all models, in whole tenths: 100.0 is all of them, and nothing less."""
        total = sum(self.totals.values())
        return min(1000 * sum(self.done.values()) // total, 1000) / 10 if total else 100.0

    def speed(self, model: str) -> float | None:
        """Images a second; None as long as that cannot be told."""
        with self._guard:
            if not self._marks[model]:
                return None
            since, before = self._marks[model][0]
            seconds, images = self._clock() - since, self.done[model] - before
        return images / seconds if images and seconds > 0 else None

    def seconds_left(self, model: str) -> float | None:
        """How long a model will take for the rest; None as long as that cannot be told."""
        left = self.totals[model] - self.done[model]
        speed = self.speed(model)
        return 0.0 if left <= 0 else left / speed if speed else None

    def words(self) -> str:
        """`42%, about 12 min left: 420 of 1,000 with clip, 41.0 images/s`; the time left is that of the slowest model,
        and each is told its own where there are several."""
        left = {model: self.seconds_left(model) for model in self.totals}
        known = [seconds for seconds in left.values() if seconds]
        until = f", about {in_words(max(known))} left" if known and None not in left.values() else ""
        models = "; ".join(self._words(model, left[model] if len(left) > 1 else None) for model in self.totals)
        return f"{int(self.percent)}%{until}: {models}"

    def _words(self, model: str, left: float | None) -> str:
        speed = self.speed(model)
        told = [f"{self.done[model]:,} of {self.totals[model]:,} with {model}"]
        told += [f"{speed:,.1f} images/s"] if speed else []
        told += [f"about {in_words(left)} left"] if left else []
        return ", ".join(told)

"""How long the stages of embedding take, and which of them a run would gain most from speeding up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

_T = TypeVar("_T")


@dataclass(slots=True)
class Timing:
    """Busy seconds by stage (reading and decoding summed over threads), and how long the models waited for pixels."""

    read: float = 0.0
    decode: float = 0.0
    wait: float = 0.0
    models: dict[str, float] = field(default_factory=dict)

    def add(self, other: Timing) -> None:
        self.read += other.read
        self.decode += other.decode
        self.wait += other.wait
        for model, seconds in other.models.items():
            self.models[model] = self.models.get(model, 0.0) + seconds

    @property
    def embed(self) -> float:
        return sum(self.models.values())

    @property
    def bottleneck(self) -> str | None:
        """The stage that the run would gain most from speeding up; None when nothing was embedded."""
        if not self.embed:
            return None
        if self.embed >= self.wait:
            return "model"
        return "read" if self.read > self.decode else "decode"


@contextmanager
def timed(timing: Timing, stage: Literal["read", "decode", "wait"]) -> Iterator[None]:
    """Add the seconds spent in a block to one stage of a timing."""
    start = time.perf_counter()
    try:
        yield
    finally:
        setattr(timing, stage, getattr(timing, stage) + time.perf_counter() - start)


@contextmanager
def timed_model(timing: Timing, model: str) -> Iterator[None]:
    """Add the seconds spent in a block to those of a model."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timing.models[model] = timing.models.get(model, 0.0) + time.perf_counter() - start


def waited_for(items: Iterable[_T], timing: Timing) -> Iterator[_T]:
    """Items as they come; the seconds until each of them is there are those of waiting."""
    remaining = iter(items)
    while True:
        with timed(timing, "wait"):
            try:
                item = next(remaining)
            except StopIteration:
                return
        yield item

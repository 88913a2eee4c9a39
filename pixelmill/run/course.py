"""What a run has come to so far: however it ends, its report is made of that."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pixelmill.deliver.told import Delivered
from pixelmill.errors import PixelmillError, reason_of
from pixelmill.heads.told import HeadReport
from pixelmill.joining.told import ColumnsReport
from pixelmill.run.outcome import Outcome
from pixelmill.run.results import Ended
from pixelmill.run.scan import Scan
from pixelmill.store.rows import Changes

REST = "rest"
"""Under this name stand the seconds of a run that belong to none of its steps."""


@dataclass(frozen=True, slots=True)
class Published:
    """What the last step before the report has found and done: what happened to files, what was joined to rows; and
    what went wrong with what is kept up to date, in words."""

    changes: Changes = field(default_factory=Changes)
    columns: ColumnsReport = field(default_factory=ColumnsReport)
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Course:
    """The way of a run up to now: what the sources hold, what was embedded, published, filled by heads, delivered;
    which way it ended, and for which error, in one line. `started` in Unix seconds."""

    started: float = field(default_factory=lambda: time.time())
    scan: Scan | None = None
    outcome: Outcome = field(default_factory=Outcome)
    published: Published = field(default_factory=Published)
    heads: tuple[HeadReport, ...] = ()
    deliveries: list[Delivered] = field(default_factory=list)
    ended: Ended = "done"
    error: str = ""
    is_told: bool = False
    """Whether the run has left its report."""
    took: dict[str, float] = field(default_factory=dict)
    """Seconds by step, of those that are over."""
    began: float = field(default_factory=time.monotonic)
    step_began: tuple[str, float] | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The block is a step of the run."""
        self.step_began = name, time.monotonic()
        try:
            yield
        finally:
            self.took, self.step_began = self._by_step(), None

    def end(self, error: BaseException | None, *, is_cancelled: bool = False) -> None:
        """Take note of what the run has ended with, if not well."""
        if error is not None or is_cancelled:
            self.ended = "cancelled" if is_cancelled else "failed"
            is_its_own = isinstance(error, PixelmillError) or not is_cancelled  # else it is a signal's, without words
            self.error = " ".join(reason_of(error).split()) if error and is_its_own else "It was asked to stop."

    def seconds(self) -> tuple[float, dict[str, float]]:
        """For how long the run has gone on, to a tenth, and of that by step, to a hundredth; with the rest, the steps
        add up to all of it."""
        whole = math.ceil((time.monotonic() - self.began) * 10) / 10
        steps = {name: math.floor(took * 100) / 100 for name, took in self._by_step().items()}
        return whole, {**steps, REST: round(whole - sum(steps.values()), 2)}

    def _by_step(self) -> dict[str, float]:
        if self.step_began is None:
            return self.took
        name, began = self.step_began
        return {**self.took, name: self.took.get(name, 0.0) + time.monotonic() - began}

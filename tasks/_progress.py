"""Progress of a run, on the terminal and in the Prefect UI."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from pixelmill.embedding.progress import Progress, telling
from pixelmill.progress import embedding_bars
from pixelmill.report.model import RunReport
from pixelmill.report.text import headline
from tasks._artifacts import key_of, not_needed

_EVERY = 5.0
"""Seconds between two updates in the UI, at least."""
_MOST_HELD_UP = 0.1
"""Of the time of a run, what updates may take: a server that hangs lets each one wait for a minute."""


class RunProgress:
    """The one progress artifact of a run, over all its models, workers and rounds; made once there is work."""

    def __init__(self, store: Path) -> None:
        self._key = key_of("progress", store)
        self._progress = Progress({})
        self._artifact: UUID | None = None
        self._before: Mapping[str, int] = {}
        self._again = 0.0
        self._advance: Callable[[str, int], None] | None = None

    @contextmanager
    def of(self, totals: Mapping[str, int]) -> Iterator[None]:
        """Show how far the images in `totals` (by model) are while the block embeds them, on a terminal as well."""
        self._before, handed_in = dict(self._progress.done), Counter[str]()
        self._progress.expect(totals)

        def count(model: str, images: int) -> None:
            handed_in[model] += images
            self.reach([handed_in])

        if self._artifact is None and any(totals.values()):
            self._create()
        with embedding_bars(totals) as self._advance, telling(count):
            try:
                yield
            finally:
                self._advance = None
                self._update(self._progress.percent, self._progress.words())

    def reach(self, done: Iterable[Mapping[str, int]]) -> None:
        """At least so many are embedded in this block, together: workers say how far they are, and hand that in."""
        for model, images in sum(map(Counter, done), Counter(self._before)).items():
            if (more := images - self._progress.done.get(model, images)) > 0:
                self._progress.add(model, more)
                if self._advance:
                    self._advance(model, more)
        if time.monotonic() > self._again:
            self._update(self._progress.percent, self._progress.words())

    def end(self, report: RunReport) -> None:
        """The last state. Images that were refused are done with: what is left is what the report says is pending."""
        total, pending = sum(self._progress.totals.values()), sum(model.pending for model in report.models.values())
        percent = 1000 * max(total - pending, 0) // total / 10 if total else 100.0
        self._update(percent, f"{int(percent)}%: {headline(report)}", at_once=False)

    def stop(self) -> None:
        """The last state of a run that fails."""
        self._update(self._progress.percent, f"Stopped at {self._progress.words()}", at_once=False)

    def _create(self) -> None:
        with not_needed("progress", at_once=True):
            made = create_progress_artifact(0.0, key=self._key, description=self._progress.words())
            self._artifact = UUID(str(made))

    def _update(self, percent: float, words: str, *, at_once: bool = True) -> None:
        began = time.monotonic()
        if self._artifact:
            with not_needed("progress", at_once=at_once):
                update_progress_artifact(self._artifact, percent, words)
        over = time.monotonic()
        self._again = max(began + _EVERY, over + (over - began) / _MOST_HELD_UP)


_shown: ContextVar[RunProgress | None] = ContextVar("progress", default=None)


@contextmanager
def progress_of(store: Path) -> Iterator[None]:
    """What is embedded in the block, for a store, is shown as one."""
    progress = RunProgress(store)
    token = _shown.set(progress)
    try:
        yield
    except BaseException:
        progress.stop()
        raise
    finally:
        _shown.reset(token)


@contextmanager
def shown(totals: Mapping[str, int]) -> Iterator[None]:
    """Show how far the images in `totals` (by model) are while the block embeds them, as part of the run's progress."""
    progress = _shown.get()
    if progress is None:
        yield
        return
    with progress.of(totals):
        yield


def reach(done: Iterable[Mapping[str, int]]) -> None:
    """Workers say that they have embedded so many images, by model, since the block in which that is shown began."""
    if progress := _shown.get():
        progress.reach(done)


def end(report: RunReport) -> None:
    """Show what became of it all, by the report."""
    if progress := _shown.get():
        progress.end(report)

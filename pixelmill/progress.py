"""Progress of a run, and of a download, on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

DownloadProgress = Callable[[int, int | None], None]
"""Called with the bytes done so far and the bytes in all (None: not known)."""


@contextmanager
def embedding_bars(totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """A bar for each model with images/s and time left, on stderr, while the block runs; nothing off a terminal.

    `totals` are the images to embed by model. What is yielded takes a model's name and how many more are done.
    """
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks = {model: bar.add_task(model, total=total, rate="") for model, total in totals.items() if total}

        def advance(model: str, images: int) -> None:
            bar.advance(tasks[model], images)
            speed = bar.tasks[bar.task_ids.index(tasks[model])].speed
            bar.update(tasks[model], rate=f"{speed:.1f} images/s" if speed else "")

        yield advance


@contextmanager
def going_on(what: str) -> Iterator[None]:
    """`what` on stderr while the block runs, with the time that it has taken; a line off a terminal."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        print(what, file=sys.stderr, flush=True)
    columns = (bars.SpinnerColumn(), bars.TextColumn("{task.description}"), bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        bar.add_task(what, total=None)
        yield


@contextmanager
def download_bar(name: str, console: Console) -> Iterator[DownloadProgress]:
    """A bar on `console` while the block runs, fed through what it yields; nothing is shown off a terminal."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield show

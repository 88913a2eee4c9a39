"""A progress bar for one download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pixelmill.models.fetch.records import Progress

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def download_bar(name: str, console: Console) -> Iterator[Progress]:
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

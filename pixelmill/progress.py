"""Progress of a run, and of a download, on the terminal. Nothing is shown, and Rich is not loaded, off a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TextIO, cast

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

DownloadProgress = Callable[[int, int | None], None]
"""Called with the bytes done so far and the bytes in all (None: not known)."""
_REFRESH_SECONDS: Final = 0.1
_still = threading.Event()


@contextmanager
def embedding_bars(totals: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """A bar for each model with images/s and time left, on stderr, while the block runs; nothing off a terminal.

    `totals` are the images to embed by model. What is yielded takes a model's name and how many more are done.
    """
    if not is_watched():
        yield lambda _model, _images: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(),
    )
    with _bars(*columns) as bar:
        tasks = {model: bar.add_task(model, total=total, rate="") for model, total in totals.items() if total}

        def advance(model: str, images: int) -> None:
            bar.advance(tasks[model], images)
            speed = bar.tasks[bar.task_ids.index(tasks[model])].speed
            bar.update(tasks[model], rate=f"{speed:.1f} images/s" if speed else "")

        yield advance


@contextmanager
def going_on(what: str) -> Iterator[None]:
    """`what` on stderr while the block runs, with the time that it has taken; a line off a terminal."""
    if not is_watched():
        print(what, file=sys.stderr, flush=True)
    with step_shown(what):
        yield


@contextmanager
def step_shown(what: str, more: Callable[[], str] = str) -> Iterator[None]:
    """`what` on a terminal's stderr while the block runs, the time that it has taken, and what `more` says by then."""
    if not is_watched():
        yield
        return
    from rich import progress as bars
    from rich.text import Text

    class More(bars.ProgressColumn):
        def render(self, _task: bars.Task) -> Text:
            return Text(more(), style="dim", no_wrap=True, overflow="ellipsis")

    columns = (bars.SpinnerColumn(), bars.TextColumn("{task.description}"), bars.TimeElapsedColumn(), More())
    with _bars(*columns, transient=True) as bar:
        bar.add_task(what, total=None)
        yield


@contextmanager
def download_bar(name: str) -> Iterator[DownloadProgress]:
    """A bar on a terminal's stderr while the block runs, fed through what it yields."""
    if not is_watched():
        yield lambda _done, _total: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with _bars(*columns, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield show


def is_watched() -> bool:
    """Whether a person sees what is written to stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


def be_still() -> None:
    """Show nothing new any more: this process has been told to stop."""
    _still.set()


class _Terminal:
    """A stream whose terminal may be closed: what cannot be shown any more raises nothing, least of all in the place of
    what ends a run then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = getattr(stream, "rich_proxied_file", stream)
        self.isatty = self._stream.isatty
        self.encoding = self._stream.encoding

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def _bars(*columns: ProgressColumn, transient: bool = False) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import Progress

    over = threading.Event()
    console = Console(file=cast("TextIO", _Terminal(sys.stderr)))
    bar = Progress(*columns, console=console, transient=transient, auto_refresh=False)

    def refresh() -> None:
        while not over.wait(_REFRESH_SECONDS):
            if not _still.is_set():
                bar.refresh()

    refreshing = threading.Thread(target=refresh, name="progress", daemon=True)
    with bar:
        refreshing.start()
        try:
            yield bar
        finally:
            over.set()
            refreshing.join()
            bar.refresh()

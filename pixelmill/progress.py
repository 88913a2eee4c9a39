"""Progress of a run on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


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

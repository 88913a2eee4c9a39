"""What the commands share: options, settings, output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import completers
from pixelmill.formatting import human_bytes as human_bytes
from pixelmill.paths import local_path

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.table import Table

    from settings import Settings


_WIDE = 10_000


class LocalPath(click.Path):
    """A path on this machine; `~` is a home folder, which shells leave alone in `--store=~/x`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(local_path(value), param, ctx)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class StorePath(LocalPath):
    """The folder of a store."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from pixelmill.cli.completers import stores

        return stores(incomplete)


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
config_file = click.option("--config", type=LocalPath(path_type=Path), help="Settings file (default: pixelmill.toml).")
store_folder = click.argument("store", type=StorePath(path_type=Path, file_okay=False))
one_model = click.option(
    "--model", shell_complete=completers.stored_model, metavar="NAME", help="Default: as `search` chooses, said aloud."
)


def settings_from(config: Path | None) -> Settings:
    """The settings of this command."""
    from settings import load_settings

    return load_settings(config)


class _Stderr:
    """What stderr is by then: while a bar is shown there, Rich takes it over, and prints above the bar."""

    def write(self, text: str) -> None:
        click.echo(text, nl=False, err=True)


def warn_on_stderr() -> None:
    """What the library warns of goes to stderr."""
    import logging

    logger = logging.getLogger("pixelmill")
    if not logger.handlers:
        handler = logging.StreamHandler(_Stderr())
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        handler.setLevel(logging.WARNING)
        logger.addHandler(handler)
    logger.propagate = False  # Prefect's own handler would say it once more


def print_json(value: Any) -> None:
    """One JSON object on stdout; bytes of names that are not UTF-8 come as lone surrogate escapes."""
    click.echo(json.dumps(value, indent=2))


def print_table(table: Table) -> None:
    """A table on stdout, as wide as it needs to be. On a terminal that is narrower each row is a paragraph instead: no
    name and no path is broken in two."""
    from rich.console import Console

    terminal = Console()
    console = Console(width=_WIDE, markup=False, emoji=False, highlight=False)  # names may hold anything
    if terminal.is_terminal and console.measure(table).maximum > terminal.width:
        for row in _rows(table):
            click.echo("\n".join(_paragraph(row, terminal.width)))
    else:
        console.print(table)


def _rows(table: Table) -> Iterator[list[tuple[str, str]]]:
    """The cells that are not empty of each row, each with its column."""
    names = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        row = [(name, str(cell)) for name, cell in zip(names, cells, strict=True)]
        yield [row[0], *((name, cell) for name, cell in row[1:] if cell)]


def _paragraph(row: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """The first cell, and below it the others, as many in a line as fit."""
    line = row[0][1]
    for item in (f"{name}: {cell}" for name, cell in row[1:]):
        if line.startswith("  ") and len(line) + 2 + len(item) <= width:
            line += f", {item}"
        else:
            yield line
            line = f"  {item}"
    yield line


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in `right` are numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made

"""`pixelmill search`: words, pictures and rows find pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import common, completers
from pixelmill.cli.paths import print_paths
from pixelmill.cli.query import QueryCommand, asked_for, in_words
from pixelmill.errors import StoreError
from pixelmill.formatting import printable

if TYPE_CHECKING:
    from datetime import date, datetime

    from pixelmill.models.base import ModelSpec
    from pixelmill.models.weights import CachedFile
    from pixelmill.search.query import Term
    from pixelmill.search.searcher import Found, Searcher
    from pixelmill.store.columns import Column
    from pixelmill.store.reader import Store
    from settings import Settings


def _moment(context: click.Context, option: click.Parameter, words: str | None) -> date | datetime | None:
    from pixelmill.errors import QueryError
    from pixelmill.search.moments import moment

    try:
        return None if words is None else moment(words)
    except QueryError as error:
        raise click.BadParameter(str(error), context, option) from error


_GROUPS = {
    "What to look for": ("texts", "images", "rows"),
    "By which model": ("model", "weights", "device", "exact"),
    "Which may appear": ("k", "globs", "since", "until", "min_size", "max_size", "where", "copies", "min_score"),
    "Output": ("columns", "paths_only", "nul", "as_json", "sheet"),
}


@click.command(cls=QueryCommand, groups=_GROUPS, short_help="Find pictures by words, pictures or rows.")
@common.store_folder
@click.argument("query", nargs=-1, metavar="[QUERY]...", shell_complete=completers.file)
@click.option("--text", "texts", multiple=True, metavar="T", help="Words, whatever they look like.")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE",
    shell_complete=completers.file,
    help="A picture: a file or an address.",
)
@click.option("--row", "rows", multiple=True, metavar="N", help="A row of the store.")
@click.option(
    "--model",
    metavar="A,B",
    shell_complete=completers.stored_model,
    help="One model or several, or an ensemble of the store. Default: said aloud.",
)
@click.option("--weights", metavar="0.7,0.3", help="How much each of several models counts.")
@click.option("-k", default=10, show_default=True, type=click.IntRange(1, 10_000), metavar="N", help="Results.")
@click.option("--glob", "globs", multiple=True, metavar="PATTERN", help="Only paths like '2024/*.jpg'; any of several.")
@click.option(
    "--since", callback=_moment, metavar="WHEN", help="Only what was taken on that day, or then, or later; or modified."
)
@click.option(
    "--until", callback=_moment, metavar="WHEN", help="Only what was taken by the end of that day, or before then."
)
@click.option("--min-size", type=click.IntRange(1), metavar="PX", help="Least length of the shorter edge.")
@click.option("--max-size", type=click.IntRange(1), metavar="PX", help="Greatest length of the longer edge.")
@click.option("--where", metavar="SQL", help="Only what fulfils a condition: \"label = 'dog' AND bytes > 1e6\".")
@click.option("--min-score", type=click.FloatRange(-1, 1), metavar="S", help="Only what scores S or more: 0.25.")
@click.option("--copies", is_flag=True, help="Show pictures that look the same one by one.")
@click.option("--exact", is_flag=True, help="Compare with every row, even if there is an index.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|gpu|cuda:N", help="Where words are embedded.")
@click.option("--columns", metavar="A,B", help="Columns of the store to show with each, as 'caption,taken_at'.")
@click.option("-f", "paths_only", is_flag=True, help="Only paths and addresses, one a line, best first.")
@click.option("-0", "nul", is_flag=True, help="Like -f, each ended by NUL, as `xargs -0` takes them.")
@click.option(
    "--sheet", type=common.LocalPath(path_type=Path, dir_okay=False), metavar="OUT.html", help="Also a contact sheet."
)
@common.as_json
@common.config_file
def search(
    store: Path, query: Sequence[str], texts: Sequence[str], images: Sequence[str], rows: Sequence[str],
    model: str | None, weights: str | None, sheet: Path | None, as_json: bool, config: Path | None, device: str,
    paths_only: bool, nul: bool, columns: str | None, **how: Any,
) -> None:  # fmt: skip
    """The pictures of STORE nearest to the QUERY, best first.

    \b
      pixelmill search STORE red bike          these words
      pixelmill search STORE beach -people     like a beach, and unlike people
      pixelmill search STORE 2:beach -.5:sea   by how much
      pixelmill search STORE cat.jpg "at night" https://example.org/dog.jpg

    Words without quotes belong together; in quotes they stand by themselves. An address is a picture, and so is what
    begins with ./ ../ ~/ or /, what ends like a picture's name, and a file that is there under a name with a slash. All
    terms are added up, each at length 1 times its weight; --text, --image and --row take signs and weights as well.
    """
    from pixelmill.cli.store import numbers

    if as_json and (paths_only or nul):
        raise click.UsageError("Expected --json, or paths alone (-f, -0). Got both.")
    if query and not store.is_dir():
        raise StoreError(f"Expected the folder of a store, and behind it what to look for. Got {store}, which is none.")
    terms = list(asked_for(query, texts, images, rows))
    names = [name.strip() for name in model.split(",")] if model else []
    searcher = searcher_of(store, config, device)
    chosen = [name.strip() for name in columns.split(",")] if columns else []
    about = [searcher.store.columns.about(name)[1] for name in chosen]
    found = _found(searcher, terms, names, numbers(weights), how)
    known = _known(searcher.store, about, found)
    for note in _notes(found, terms, chosen=not model, read=bool(query)):
        click.echo(printable(note), err=True)
    if sheet:
        from pixelmill.search.sheet import write_sheet

        write_sheet(sheet, in_words(terms), found)
        click.echo(f"Contact sheet: {sheet}", err=True)
    if as_json:
        common.print_json(_described(found, known))
    elif paths_only or nul:
        print_paths([hit.places[0].absolute for hit in found.hits], end="\0" if nul else "\n")
    else:
        _show(found, chosen, known)


def _known(store: Store, columns: Sequence[Column], found: Found) -> list[dict[str, Any]]:
    """What columns say of each result, None where they say nothing."""
    import numpy as np

    rows = np.array([hit.row for hit in found.hits], np.int64)
    values = {column.name: map(column.plain, store.columns.take(column.name, rows)) for column in columns}
    return [{name: next(one) for name, one in values.items()} for _ in found.hits]


def _notes(found: Found, terms: Sequence[Term], *, chosen: bool, read: bool) -> Iterator[str]:
    """Which model searched if nobody said, and how a QUERY was read where that could be otherwise."""
    if chosen:
        yield f"Searching with {found.model}."
    if read and (len(terms) > 1 or terms[0].weight != 1):
        yield f"Looking for {in_words(terms)}"
    yield from found.notes
    if not found.hits and found.best is not None:
        yield f"Nothing scores that much; the nearest has {_score(found.best)}."
    elif not found.hits:
        yield "Nothing fits."


def searcher_of(store: Path | Store, config: Path | None, device: str) -> Searcher:
    """A searcher whose models are those of the settings, which are read when one is needed."""
    from pixelmill.devices import resolve_device
    from pixelmill.search.searcher import Searcher

    models = _Models(config)
    where = device if device == "cpu" else resolve_device(device)
    return Searcher(store, find=models.find, cache=models, device=where, asks=True)


class _Models:
    """The models of the settings, which are read when a model is needed, or where they are named."""

    def __init__(self, config: Path | None) -> None:
        self._config = config
        if config:
            _ = self._settings

    def find(self, name: str) -> ModelSpec:
        from settings.job import find_model

        return find_model(self._settings, name)

    def fetch_model(self, spec: ModelSpec) -> CachedFile:
        from settings.job import make_cache

        return make_cache(self._settings).open().fetch_model(spec)

    @cached_property
    def _settings(self) -> Settings:
        return common.settings_from(self._config)


def _found(
    searcher: Searcher, terms: Sequence[Term], models: Sequence[str], weights: Sequence[float] | None,
    how: dict[str, Any],
) -> Found:  # fmt: skip
    from pixelmill.search.filters import Filters

    filters = Filters(how["globs"], how["since"], how["until"], how["min_size"], how["max_size"], how["where"])
    return searcher.search(
        terms, how["k"], filters, models=models, weights=weights, copies=how["copies"], exact=how["exact"],
        min_score=how["min_score"],
    )  # fmt: skip


def _described(found: Found, known: Sequence[dict[str, Any]]) -> dict[str, Any]:
    from dataclasses import asdict

    more = [{"columns": values} if values else {} for values in known]
    results = [asdict(hit) | columns for hit, columns in zip(found.hits, more, strict=True)]
    return {"model": found.model, "models": list(found.models), "results": results, "notes": list(found.notes)}


def _show(found: Found, columns: Sequence[str], known: Sequence[dict[str, Any]]) -> None:
    heads = ("score", "row", "file", "size", "copies", *columns)
    table = common.table("", *heads, right=("score", "row", "size", "copies"))
    for hit, values in zip(found.hits, known, strict=True):
        told = ["" if value is None else printable(str(value)) for value in values.values()]
        size = f"{hit.width} x {hit.height}"
        copies = str(len(hit.copies)) if hit.copies else ""
        files = "\n".join(printable(place.absolute) for place in hit.places)
        table.add_row(_score(hit.score), str(hit.row), files, size, copies, *told)
    if found.hits:
        common.print_table(table)


def _score(score: float) -> str:
    return f"{score:.4f}"

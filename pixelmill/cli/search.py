"""`pixelmill search`: words, pictures and rows find pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixelmill.cli import common
from pixelmill.formatting import printable

if TYPE_CHECKING:
    from datetime import date, datetime

    from pixelmill.search.query import Term
    from pixelmill.search.searcher import Found, Searcher


def _moment(context: click.Context, option: click.Parameter, words: str | None) -> date | datetime | None:
    from pixelmill.errors import QueryError
    from pixelmill.search.moments import moment

    try:
        return None if words is None else moment(words)
    except QueryError as error:
        raise click.BadParameter(str(error), context, option) from error


@click.command(short_help="Find pictures by words, pictures or rows.")
@common.store_folder
@click.option("--text", "texts", multiple=True, metavar="T", help='Words to look for; -"words" to look away from.')
@click.option("--image", "images", multiple=True, metavar="FILE", help="A picture to look for; -FILE to look away.")
@click.option("--row", "rows", multiple=True, metavar="N", help="A row of the store; -N to look away.")
@click.option("--model", metavar="A,B", help="One model or several, or an ensemble of the store. Default: said aloud.")
@click.option("--weights", metavar="0.7,0.3", help="How much each of several models counts.")
@click.option("-k", default=10, show_default=True, type=click.IntRange(1, 10_000), help="Results.")
@click.option("--glob", "globs", multiple=True, metavar="PATTERN", help="Only paths like '2024/*.jpg'; any of several.")
@click.option("--since", callback=_moment, metavar="WHEN", help="Only files modified on that day, or then, or later.")
@click.option(
    "--until", callback=_moment, metavar="WHEN", help="Only files modified by the end of that day, or before then."
)
@click.option("--min-size", type=click.IntRange(1), metavar="PX", help="Least length of the shorter edge.")
@click.option("--max-size", type=click.IntRange(1), metavar="PX", help="Greatest length of the longer edge.")
@click.option("--copies", is_flag=True, help="Show pictures that look the same one by one.")
@click.option("--exact", is_flag=True, help="Compare with every row, even if there is an index.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|gpu|cuda:N", help="Where words are embedded.")
@click.option(
    "--sheet", type=common.LocalPath(path_type=Path, dir_okay=False), metavar="OUT.html", help="Also a contact sheet."
)
@common.as_json
@common.config_file
def search(
    store: Path, texts: Sequence[str], images: Sequence[str], rows: Sequence[str], model: str | None,
    weights: str | None, sheet: Path | None, as_json: bool, config: Path | None, device: str, **how: Any,
) -> None:  # fmt: skip
    """The pictures of STORE nearest to the sum of all that is given, best first.

    Several texts, images and rows are added up, each at length 1; those that begin with a minus are subtracted:
    --text beach --text -people --image sunset.jpg
    """
    from pixelmill.cli.store import numbers

    terms = list(_terms(texts, images, rows))
    searcher = _searcher(store, config, device)
    names = [name.strip() for name in model.split(",")] if model else []
    found = _found(searcher, terms, names, numbers(weights), how)
    for note in (*([f"Searching with {found.model}."] if not model else []), *found.notes):
        click.echo(printable(note), err=True)
    if sheet:
        from pixelmill.search.sheet import write_sheet

        write_sheet(sheet, " ".join(_words(texts, images, rows)), found)
        click.echo(f"Contact sheet: {sheet}", err=True)
    if as_json:
        common.print_json(_described(found))
    else:
        _show(found)


def _terms(texts: Sequence[str], images: Sequence[str], rows: Sequence[str]) -> Iterator[Term]:
    from pixelmill.images.decode import DecodeOptions
    from pixelmill.paths import at_home
    from pixelmill.search.query import Picture
    from pixelmill.search.terms import row_term, text_term, weighed
    from pixelmill.sources.address import checked_address, is_address
    from pixelmill.sources.found import found_at
    from pixelmill.sources.reading import read_image

    yield from map(text_term, texts)
    for weight, name in map(weighed, images):
        try:
            place = checked_address(name) if is_address(name) else os.path.abspath(at_home(name))  # noqa: PTH100
            data = read_image(found_at(place), max_bytes=DecodeOptions().max_bytes)
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"Expected an image at {name}. {_reason(error)}.") from error
        yield Picture(data, weight, name)
    yield from map(row_term, rows)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _searcher(store: Path, config: Path | None, device: str) -> Searcher:
    from pixelmill.devices import resolve_device
    from pixelmill.search.searcher import Searcher
    from settings.job import find_model, make_cache

    settings = common.settings_from(config)
    where = device if device == "cpu" else resolve_device(device)
    return Searcher(
        store, find=lambda name: find_model(settings, name), cache=make_cache(settings).open(), device=where
    )


def _found(
    searcher: Searcher, terms: Sequence[Term], models: Sequence[str], weights: Sequence[float] | None,
    how: dict[str, Any],
) -> Found:  # fmt: skip
    from pixelmill.search.filters import Filters

    filters = Filters(how["globs"], how["since"], how["until"], how["min_size"], how["max_size"])
    return searcher.search(
        terms, how["k"], filters, models=models, weights=weights, copies=how["copies"], exact=how["exact"]
    )


def _words(texts: Sequence[str], images: Sequence[str], rows: Sequence[str]) -> Iterator[str]:
    yield from texts
    yield from images
    yield from (f"row {number}" for number in rows)


def _described(found: Found) -> dict[str, Any]:
    from dataclasses import asdict

    results = [asdict(hit) for hit in found.hits]
    return {"model": found.model, "models": list(found.models), "results": results, "notes": list(found.notes)}


def _show(found: Found) -> None:
    table = common.table("", "score", "row", "file", "size", "copies", right=("score", "row", "size", "copies"))
    for hit in found.hits:
        size = f"{hit.width} x {hit.height}"
        copies = str(len(hit.copies)) if hit.copies else ""
        files = "\n".join(printable(place.absolute) for place in hit.places)
        table.add_row(_score(hit.score), str(hit.row), files, size, copies)
    common.print_table(table)
    if not found.hits:
        click.echo("Nothing fits.")


def _score(score: float) -> str:
    return f"{score:.4f}"

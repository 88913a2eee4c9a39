"""`pixelmill duplicates`: which pictures look the same, and which of them to keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common
from pixelmill.formatting import number_of, printable

if TYPE_CHECKING:
    from pixelmill.curation.duplicates import Duplicates
    from pixelmill.curation.keep import Keep


@click.command(short_help="Pictures that look the same, and which to keep.")
@common.store_folder
@click.option(
    "--threshold", default=0.97, show_default=True, type=click.FloatRange(0.5, 1), metavar="C", help="Least cosine."
)
@click.option(
    "--keep", default="largest", show_default=True, type=click.Choice(["largest", "oldest", "sharpest"]),
    help="Which picture of a group to keep.",
)  # fmt: skip
@common.one_model
@click.option(
    "--out", type=common.LocalPath(path_type=Path, dir_okay=False), metavar="keep.csv", help="A table of all groups."
)
@click.option(
    "--show", default=20, show_default=True, type=click.IntRange(0), metavar="N", help="Groups to print, the largest."
)
@common.as_json
def duplicates(
    store: Path, threshold: float, keep: Keep, model: str | None, out: Path | None, show: int, as_json: bool
) -> None:
    """Group the pictures of STORE that look the same, and say which of each group to keep.

    \b
      pixelmill duplicates STORE --out keep.csv
      pixelmill duplicates STORE --threshold 0.99 --keep oldest

    All rows are compared, by the vectors of one model; no picture is read, and nothing is deleted. The column
    duplicate_of says for each picture which row is kept for it; from then on each run brings it up to date.
    """
    from pixelmill.curation.duplicates import find_duplicates
    from pixelmill.progress import step_shown
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.durable import write_durably
    from pixelmill.store.reader import Store

    Store(store)
    with StoreWriter(store) as writer, step_shown("Comparing pictures"):
        found = find_duplicates(writer, model=model, threshold=threshold, keep=keep)
    if out:
        from pixelmill.curation.told import as_csv

        write_durably(out, as_csv(found))
    if as_json:
        common.print_json(_described(found))
    else:
        _show(found, show)


def _described(found: Duplicates) -> dict[str, object]:
    from dataclasses import asdict

    from pixelmill.curation.told import groups

    told = [
        {"pictures": [{name: value for name, value in asdict(one).items() if name != "group"} for one in group]}
        for group in groups(found)
    ]
    recall = None if math.isnan(found.recall) else round(found.recall, 4)
    return {**found.made.model_dump(), "compared": found.compared, "recall": recall, "groups": told}


def _show(found: Duplicates, most: int) -> None:
    from pixelmill.curation.told import groups

    right = ("group", "similarity", "row")
    table = common.table("", "group", "file", "keep", "similarity", "row", "why", right=right)
    for group in islice(groups(found), most):
        for one in group:
            similarity = "" if one.keep else f"{one.similarity:.4f}"
            cells = (str(one.group), printable(one.path), "keep" if one.keep else "", similarity, str(one.row), one.why)
            table.add_row(*cells)
    if table.row_count:
        common.print_table(table)
    for line in _lines(found, most):
        click.echo(line)


def _lines(found: Duplicates, most: int) -> Iterator[str]:
    from pixelmill.curation.told import counts

    made, (number, others) = found.made, counts(found)
    compared = number_of(found.compared, "picture")
    yield f"{compared} compared by {printable(made.model)}; alike is what has a cosine of {made.threshold:g} or more."
    yield f"{number_of(number, 'group')}: the {made.keep} of each to keep, {number_of(others, 'picture')} like it."
    if number > most:
        yield f"The {most} largest are shown; --show says how many, --out writes all."
    if math.isnan(found.recall):
        yield "Not all were compared with all. What share of look-alikes was found is not known: a sample had none."
    elif found.recall < 1:
        yield f"Not all were compared with all: of the look-alikes of a sample, {found.recall:.1%} were found."
    yield "Nothing was deleted. The column duplicate_of has the row that is kept for each."

"""`pixelmill outliers`: which pictures lie far from all others."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common
from pixelmill.formatting import number_of, printable

if TYPE_CHECKING:
    from pixelmill.curation.outliers import Outliers


@click.command(short_help="Pictures that are like no others.")
@common.store_folder
@click.option(
    "--neighbours", default=10, show_default=True, type=click.IntRange(1, 1000), metavar="K", help="How many count."
)
@common.one_model
@click.option(
    "--out", type=common.LocalPath(path_type=Path, dir_okay=False), metavar="outliers.csv", help="A table of all."
)
@click.option("--show", default=20, show_default=True, type=click.IntRange(0), metavar="N", help="Pictures to tell of.")
@common.as_json
def outliers(store: Path, neighbours: int, model: str | None, out: Path | None, show: int, as_json: bool) -> None:
    """Measure how far each picture of STORE lies from the K nearest to it; the farthest are told first.

    By the vectors of one model; no picture is read, and nothing is deleted. The column outlier has the distance of each
    (0: its neighbours are the same; about 1: they have nothing in common); each run measures what is new.
    """
    from pixelmill.curation.outliers import find_outliers
    from pixelmill.progress import step_shown
    from pixelmill.store.commit import StoreWriter
    from pixelmill.store.durable import write_durably
    from pixelmill.store.reader import Store

    Store(store)
    with StoreWriter(store) as writer, step_shown("Comparing pictures"):
        found = find_outliers(writer, model=model, neighbours=neighbours)
    if out:
        write_durably(out, _as_csv(found))
    if as_json:
        counts = {"measured": len(found.rows), "others": found.others}
        told = [
            {"row": row, "distance": None if math.isnan(distance) else distance, "path": path}
            for row, distance, path in _lines(found, show)
        ]
        common.print_json({**found.made.model_dump(), **counts, "rows": told})
    else:
        _show(found, show)


def _lines(found: Outliers, most: int | None = None) -> Iterator[tuple[int, float, str]]:
    for row, distance in zip(found.rows[:most].tolist(), found.distances[:most].tolist(), strict=True):
        yield row, round(distance, 4), os.path.join(*found.store.place(row))  # noqa: PTH118 - addresses as well


def _as_csv(found: Outliers) -> bytes:
    file = io.StringIO(newline="")
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(("row", "distance", "path"))
    lines.writerows(_lines(found))
    return file.getvalue().encode("utf-8", "surrogateescape")


def _show(found: Outliers, most: int) -> None:
    table = common.table("", "distance", "file", "row", right=("distance", "row"))
    for row, distance, path in _lines(found, most):
        table.add_row(f"{distance:.4f}", printable(path), str(row))
    if table.row_count:
        common.print_table(table)
    made, measured = found.made, number_of(len(found.rows), "picture")
    click.echo(f"{measured} measured by {printable(made.model)}, by the {made.neighbours} nearest of {found.others:,}.")
    click.echo("Nothing was deleted. The column outlier has the distance of each.")

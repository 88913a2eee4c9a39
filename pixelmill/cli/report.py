"""`pixelmill report`: the last run's report; and how a report looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common
from pixelmill.formatting import printable

if TYPE_CHECKING:
    from pixelmill.report.model import RunReport
    from pixelmill.report.section import Names, Section

WARNINGS = 20
"""Warnings that are told one by one."""


@click.command(short_help="What the last run did.")
@common.store_folder
@common.as_json
def report(store: Path, as_json: bool) -> None:
    """The last run: by model, worker, folder and reason of failure, beside the runs before it."""
    last = _last(store)
    if as_json:
        common.print_json(last.as_json())
    else:
        show_all(last)


def show_all(report: RunReport) -> None:
    """A report with all its tables."""
    from pixelmill.report.text import headline, sections, standing_out, summary

    click.echo(f"{printable(report.store)}: {headline(report)}")
    click.echo(summary(report))
    _show_lines(standing_out(report))
    for section in sections(report):
        click.echo(f"\n{section.title}")
        show_section(section)
    if report.warnings:
        click.echo("\nWarnings")
    _show_lines(report.warnings)


def show_section(section: Section) -> None:
    """A table and its note."""
    numbers = tuple(column for column in section.columns if column not in section.words)
    table = common.table("", *section.columns, right=numbers)
    for row in section.rows:
        table.add_row(*map(_cell, row))
    if section.rows:
        common.print_table(table)
    if section.note:
        click.echo(printable(section.note))


def _cell(cell: str | Names) -> str:
    return printable(cell) if isinstance(cell, str) else ", ".join(map(printable, cell))


def _show_lines(lines: Sequence[str]) -> None:
    for line in lines[:WARNINGS]:
        click.echo(printable(line))
    if len(lines) > WARNINGS:
        click.echo(f"… and {len(lines) - WARNINGS:,} more.")


def _last(store: Path) -> RunReport:
    from pixelmill.errors import StoreError
    from pixelmill.report.cut_off import last_cut_off
    from pixelmill.report.model import read_report
    from pixelmill.store.reader import Store
    from pixelmill.store.readonly import ledger_of

    with ledger_of(store) as ledger:
        runs = ledger.runs.last(1) if ledger else []
        if ledger and (cut_off := last_cut_off(ledger, Store(store))):
            return cut_off
    if not runs or (runs[0] and "notable" not in runs[0]):
        raise StoreError(f"Expected a run on record in {store}. Found none: `pixelmill run` makes one.")
    report = read_report(runs[0])
    if report is None:
        raise StoreError(
            f"Expected the report of the last run in {store}. It is damaged: `pixelmill repair {store}` mends or drops "
            "it, and the next run makes another. No vectors are lost."
        )
    return report

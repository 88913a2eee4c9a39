"""A report as HTML that stands alone, for notebooks. Whatever files are called, it is text."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from html import escape

from pixelmill.formatting import printable
from pixelmill.report.model import RunReport
from pixelmill.report.section import Names, Section
from pixelmill.report.sheet import Figure, Sheet
from pixelmill.report.text import Report, headline, sections, standing_out, summary

WARNINGS = 20
"""Warnings that are told one by one."""


def as_html(report: Report, sheet: Sheet = Sheet()) -> str:  # noqa: B008 - frozen
    """The headline, the pictures of a sheet, and the tables that have something to tell."""
    return f"<div>{''.join(_blocks(report, sheet))}</div>"


def text(words: str) -> str:
    """Words, as HTML."""
    return escape(printable(words))


def _blocks(report: Report, sheet: Sheet) -> Iterator[str]:
    yield f"<p><b>{text(headline(report))}</b></p>"
    if isinstance(report, RunReport):
        yield f"<p>{text(summary(report))} Store: <code>{text(report.store)}</code>.</p>"
        yield from (f"<p><b>{text(line)}</b></p>" for line in standing_out(report))
    elif report.failure:
        yield f"<p><b>Failed:</b> {text(report.failure)}</p>"
    for figure in sheet.figures:
        yield f"<p><b>{text(figure.title)}</b></p>{_figure(figure)}"
    for section in sections(report):
        yield from _section(section, sheet.trend)
    yield from (f"<p>Warning: {text(warning)}</p>" for warning in report.warnings[:WARNINGS])
    if len(report.warnings) > WARNINGS:
        yield f"<p>… and {len(report.warnings) - WARNINGS:,} more warnings.</p>"


def picture(figure: Figure) -> str:
    """The image of a figure, inside the text."""
    data = base64.b64encode(figure.webp).decode()
    return f'<img src="data:image/webp;base64,{data}" alt="{text(figure.alt)}" style="max-width: 100%">'


def table(section: Section) -> str:
    """The rows of a section below the names of its columns."""
    names = "".join(f"<th{_side(name in section.words)}>{text(name)}</th>" for name in section.columns)
    rows = (
        "".join(
            f"<td{_side(name in section.words)}>{_cell(cell)}</td>"
            for name, cell in zip(section.columns, row, strict=True)
        )
        for row in section.rows
    )
    body = "".join(f"<tr>{cells}</tr>" for cells in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _figure(figure: Figure) -> str:
    lines = (" · ".join(f"<code>{text(os.path.basename(one.path))}</code> {text(one.words)}" for one in line)  # noqa: PTH119
             for line in figure.shown)  # fmt: skip
    listed = "<br>".join(lines)
    return "".join(f"<p>{block}</p>" for block in (picture(figure), text(figure.note), listed) if block)


def _section(section: Section, trend: Figure | None) -> Iterator[str]:
    yield f"<p><b>{text(section.title)}</b></p>"
    if trend and trend.title == section.title:
        yield _figure(trend)
    if section.rows:
        yield table(section)
    if section.note:
        yield f"<p>{text(section.note)}</p>"


def _side(words: bool) -> str:
    return f' style="text-align: {"left" if words else "right"}"'


def _cell(cell: str | Names) -> str:
    return text(cell) if isinstance(cell, str) else "<br>".join(f"<code>{text(name)}</code>" for name in cell)

"""A report as HTML that stands alone, for notebooks. Whatever files are called, it is text."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from html import escape

from pixelmill.formatting import printable
from pixelmill.report.model import RunReport
from pixelmill.report.sheet import Figure, Sheet
from pixelmill.report.text import Names, Report, Section, headline, sections, standing_out, summary

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


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.webp).decode()
    image = f'<img src="data:image/webp;base64,{data}" alt="{text(figure.alt)}" style="max-width: 100%">'
    lines = (" · ".join(f"<code>{text(os.path.basename(one.path))}</code> {text(one.words)}" for one in line)  # noqa: PTH119
             for line in figure.shown)  # fmt: skip
    listed = "<br>".join(lines)
    return "".join(f"<p>{block}</p>" for block in (image, text(figure.note), listed) if block)


def _section(section: Section, trend: Figure | None) -> Iterator[str]:
    yield f"<p><b>{text(section.title)}</b></p>"
    if trend and trend.title == section.title:
        yield _figure(trend)
    if section.rows:
        names = "".join(f"<th{_side(name in section.words)}>{text(name)}</th>" for name in section.columns)
        yield f"<table><thead><tr>{names}</tr></thead><tbody>"
        for row in section.rows:
            cells = zip(section.columns, row, strict=True)
            yield f"<tr>{''.join(f'<td{_side(name in section.words)}>{_cell(cell)}</td>' for name, cell in cells)}</tr>"
        yield "</tbody></table>"
    if section.note:
        yield f"<p>{text(section.note)}</p>"


def _side(words: bool) -> str:
    return f' style="text-align: {"left" if words else "right"}"'


def _cell(cell: str | Names) -> str:
    return text(cell) if isinstance(cell, str) else "<br>".join(f"<code>{text(name)}</code>" for name in cell)

"""A report as Markdown, for the Prefect UI. Whatever files are called, a table stays a table."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence

from pixelmill.evaluation.told import Evaluation
from pixelmill.formatting import printable
from pixelmill.report import links
from pixelmill.report.evaluation import agreement, left_out, scores, verdicts
from pixelmill.report.evaluation import headline as headline_of
from pixelmill.report.model import RunReport
from pixelmill.report.section import Names, Section
from pixelmill.report.sheet import Figure, Sheet, Shown
from pixelmill.report.text import Report, headline, sections, standing_out, summary

WARNINGS = 20
"""Warnings that are told one by one."""
_MARKUP = re.compile(r"[\\`*~|<>&\[\]#]|(?<![^\W_])_|_(?![^\W_])")


def as_markdown(report: Report, gallery: str | None = None, sheet: Sheet = Sheet()) -> str:  # noqa: B008 - frozen
    """The report as people read it in the Prefect UI, with the pictures of its sheet; `gallery` is the address of that
    which shows the images."""
    blocks = [f"# {plain(headline(report))}"]
    if isinstance(report, RunReport):
        blocks.append(f"{plain(summary(report))} Store: {code(report.store)}.")
        blocks += [f"**{plain(line)}**" for line in standing_out(report)]
    if gallery:
        blocks.append(f"[Open the gallery]({gallery})")
    for figure in sheet.figures:
        blocks += [f"## {figure.title}", *_figure(figure, gallery)]
    for section in sections(report):
        blocks += _section(section, gallery, sheet.trend)
    blocks += _warnings(report.warnings)
    return "\n\n".join(blocks) + "\n"


def compared(told: Evaluation, plots: Sequence[Figure]) -> str:
    """Models compared, as people read it in the Prefect UI."""
    blocks = [f"# Models compared by {plain(told.labels)}", plain(headline_of(told)), f"Store: {code(told.store)}."]
    blocks += [plain(line) for line in verdicts(told)]
    for section in (scores(told), agreement(told)):
        blocks += _section(section, None, None) if section.rows else []
    for figure in plots:
        blocks += [f"## {figure.title}", *_figure(figure, None)]
    blocks += [plain(line) for line in left_out(told)]
    return "\n\n".join(blocks) + "\n"


def plain(text: str) -> str:
    """Text in which nothing is markup. The Prefect UI knows backslashes, and shows HTML's entities as they are."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def code(name: str) -> str:
    """A name as it is, but for what would end its code span or its cell: that is escaped like control characters."""
    escaped = printable(name).replace("`", r"\x60").replace("|", r"\x7c")
    return f"`{escaped}`"


def _figure(figure: Figure, gallery: str | None) -> list[str]:
    """An image, inside the text; and what is on it, for those who do not see it."""
    data = base64.b64encode(figure.webp).decode()
    lines = [" · ".join(_listed(one, i if figure.numbered else 0, gallery) for i, one in enumerate(line, 1))
             for line in figure.shown]  # fmt: skip
    listed = "\n".join(f"- {line}" for line in lines) if len(lines) > 1 else "".join(lines)
    return list(filter(None, [f"![{plain(figure.alt)}](data:image/webp;base64,{data})", plain(figure.note), listed]))


def _listed(one: Shown, number: int, gallery: str | None) -> str:
    name = os.path.basename(one.path)  # noqa: PTH119 - as the file system spells it
    linked = f"[{plain(name)}]({links.at(gallery, one.link)})" if gallery and one.link else code(name)
    return " ".join(filter(None, [str(number or ""), linked, plain(one.words)]))


def _section(section: Section, gallery: str | None, trend: Figure | None) -> list[str]:
    rules = (":---" if column in section.words else "---:" for column in section.columns)
    rows_of_cells = [_row(section, number, gallery) for number in range(len(section.rows))]
    table = [section.columns, tuple(rules), *rows_of_cells] if rows_of_cells else []
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    plot = _figure(trend, gallery) if trend and trend.title == section.title else []
    return list(filter(None, [f"## {section.title}", *plot, lines, plain(section.note)]))


def _row(section: Section, number: int, gallery: str | None) -> tuple[str, ...]:
    link = section.links[number] if gallery and section.links else ""
    address = links.at(gallery or "", link)
    return tuple(
        f"[{_text(cell)}]({address})" if link and column == section.linked else _cell(cell)
        for column, cell in zip(section.columns, section.rows[number], strict=True)
    )


def _text(cell: str | Names) -> str:
    """What a link says: one of Prefect's UIs knows no code in it."""
    return plain(cell if isinstance(cell, str) else " ".join(cell))


def _cell(cell: str | Names) -> str:
    return plain(cell) if isinstance(cell, str) else " ".join(map(code, cell))


def _warnings(warnings: Sequence[str]) -> list[str]:
    if not warnings:
        return []
    lines = [f"- {plain(warning)}" for warning in warnings[:WARNINGS]]
    if len(warnings) > WARNINGS:
        lines.append(f"- … and {len(warnings) - WARNINGS:,} more.")
    return ["## Warnings", "\n".join(lines)]

"""A report as Markdown, for the Prefect UI. Whatever files are called, a table stays a table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pixelmill.formatting import printable
from pixelmill.report.model import RunReport
from pixelmill.report.text import Names, Report, Section, headline, sections, standing_out, summary

WARNINGS = 20
"""Warnings that are told one by one."""
_MARKUP = re.compile(r"[\\`*~|<>&\[\]#]|(?<![^\W_])_|_(?![^\W_])")


def as_markdown(report: Report, gallery: str | None = None) -> str:
    """The report as people read it in the Prefect UI; `gallery` is the address of the one that shows the images."""
    blocks = [f"# {plain(headline(report))}"]
    if isinstance(report, RunReport):
        blocks.append(f"{plain(summary(report))} Store: {code(report.store)}.")
        blocks += [f"**{plain(line)}**" for line in standing_out(report)]
    if gallery:
        blocks.append(f"[Open the gallery]({gallery})")
    for section in sections(report):
        blocks += _section(section)
    blocks += _warnings(report.warnings)
    return "\n\n".join(blocks) + "\n"


def plain(text: str) -> str:
    """Text in which nothing is markup. The Prefect UI knows backslashes, and shows HTML's entities as they are."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def code(name: str) -> str:
    """A name as it is, but for what would end its code span or its cell: that is escaped like control characters."""
    escaped = printable(name).replace("`", r"\x60").replace("|", r"\x7c")
    return f"`{escaped}`"


def _section(section: Section) -> list[str]:
    rules = (":---" if column in section.words else "---:" for column in section.columns)
    table = [section.columns, tuple(rules), *(tuple(map(_cell, row)) for row in section.rows)] if section.rows else []
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return list(filter(None, [f"## {section.title}", lines, plain(section.note)]))


def _cell(cell: str | Names) -> str:
    return plain(cell) if isinstance(cell, str) else " ".join(map(code, cell))


def _warnings(warnings: Sequence[str]) -> list[str]:
    if not warnings:
        return []
    lines = [f"- {plain(warning)}" for warning in warnings[:WARNINGS]]
    if len(warnings) > WARNINGS:
        lines.append(f"- … and {len(warnings) - WARNINGS:,} more.")
    return ["## Warnings", "\n".join(lines)]

"""What a report says of columns: what was joined to rows, and what of tables could not be read."""

from __future__ import annotations

from pixelmill.formatting import number_of
from pixelmill.joining.told import ColumnsReport

_FEW = 10
Cells = tuple[str | tuple[str, ...], ...]

COUNTS = ("lines", "unmatched", "repeated", "shared", "unreadable")
"""What is counted of each table; `TableReport` says what they are."""


def problems(columns: ColumnsReport) -> list[str]:
    """What somebody has to look at, a sentence each."""
    told = [
        f"The table {table.path} could not be read, and its columns stay as they are. {table.problem.rstrip('.')}."
        for table in columns.tables if table.problem
    ]  # fmt: skip
    return [*filter(None, [columns.problem]), *told]


def is_worth_telling(columns: ColumnsReport) -> bool:
    """Whether a value has changed, or something is wrong."""
    wrong = any(table.problem or table.unreadable or table.notes for table in columns.tables)
    named = (columns.new, columns.dropped, columns.no_room)
    return bool(columns.rows or any(named) or columns.left or columns.problem or wrong)


def rows(columns: ColumnsReport) -> list[Cells]:
    """A line for each table that was read."""
    read = [table for table in columns.tables if not table.problem]
    return [((table.path,), *(f"{n:,}" if (n := getattr(table, what)) else "" for what in COUNTS)) for table in read]


def note(columns: ColumnsReport) -> str:
    """What has changed in the store, and what is wrong with tables."""
    said = [
        f"{number_of(columns.rows, 'row')} with other values than before." if columns.rows else "",
        _named("New", columns.new), _named("Dropped, as no table has them any more", columns.dropped),
        _named("Not joined, as there is no room for more", columns.no_room),
        "The tables were left to the next run: this one came to its end." if columns.left else "",
        *(f"{table.path}, {example}." for table in columns.tables for example in table.examples),
        *(f"{table.path}: {note}." for table in columns.tables for note in table.notes),
    ]  # fmt: skip
    return " ".join(filter(None, said))


def _named(what: str, names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return f"{what}: {', '.join(names[:_FEW])}{more}." if names else ""

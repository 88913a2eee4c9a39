"""What a report says of columns: what was joined to rows, and what of tables could not be read."""

from __future__ import annotations

from collections.abc import Iterator

from pixelmill.formatting import number_of
from pixelmill.joining.told import BesideCounts, ColumnsReport
from pixelmill.run.companions import BesideReport

_FEW = 10
Cells = tuple[str | tuple[str, ...], ...]

COUNTS = ("lines", "unmatched", "repeated", "shared", "unreadable")
"""What is counted of each table; `TableReport` says what they are."""


def with_beside(columns: ColumnsReport, read: BesideReport) -> ColumnsReport:
    """What was joined, with what was read for it while the sources were looked at."""
    examples = (*read.examples, *columns.beside.examples)
    counts = {"read": read.read, "left": read.left, "unreadable": read.unreadable, "notes": read.told}
    beside = columns.beside.model_copy(update=counts | {"examples": examples})
    return columns.model_copy(update={"beside": beside})


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
    beside = columns.beside.read or columns.beside.left or columns.beside.unfit
    return bool(columns.rows or any(named) or columns.left or columns.problem or wrong or beside)


def rows(columns: ColumnsReport) -> list[Cells]:
    """A line for each table that was read."""
    read = [table for table in columns.tables if not table.problem]
    return [((table.path,), *(f"{n:,}" if (n := getattr(table, what)) else "" for what in COUNTS)) for table in read]


def note(columns: ColumnsReport) -> str:
    """What has changed in the store, and what is wrong with tables."""
    said = [
        f"{number_of(columns.rows, 'row')} with other values than before." if columns.rows else "",
        *_of_beside(columns.beside),
        _named("New", columns.new), _named("Dropped, as nobody gives them any more", columns.dropped),
        _named("Not joined, as there is no room for more", columns.no_room),
        "What is known of pictures was left to the next run: this one came to its end." if columns.left else "",
        *(f"{table.path}, {example.rstrip('.')}." for table in columns.tables for example in table.examples),
        *(f"{table.path}: {note}." for table in columns.tables for note in table.notes),
    ]  # fmt: skip
    return " ".join(filter(None, said))


def _of_beside(beside: BesideCounts) -> Iterator[str]:
    """What came with pictures, in sentences."""
    counts = {
        "read": beside.read, "left to the next run": beside.left, "that cannot be read, wholly or in part":
        beside.unreadable,
    }  # fmt: skip
    if told := ", ".join(f"{count:,} {what}" for what, count in counts.items() if count):
        yield f"Texts and objects beside pictures: {told}."
    if beside.unfit:
        yield f"{number_of(beside.unfit, 'value')} beside pictures of another kind than their column."
    yield from (f"{text.rstrip('.')}." for text in (*beside.examples, *beside.notes))


def _named(what: str, names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return f"{what}: {', '.join(names[:_FEW])}{more}." if names else ""

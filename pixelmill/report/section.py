"""A table of a report, as the terminal, the browser and Prefect's UI show it."""

from __future__ import annotations

from dataclasses import dataclass

Names = tuple[str, ...]
"""A cell of names: of files, folders, models. They may hold anything."""
Row = tuple[str | Names, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A table with a title and a note below; without rows, the note alone. The columns in `words` hold no numbers.
    `links` are where a gallery shows what a row tells of, for the column that they belong to; '' is nowhere."""

    title: str
    columns: Names
    rows: list[Row]
    words: Names = ()
    note: str = ""
    links: Names = ()
    linked: str = ""


def trimmed(title: str, columns: Names, rows: list[Row], words: Names, note: str = "") -> Section:
    """A section without the columns that are empty: the Prefect UI does not wrap what is wide."""
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    shown: list[Row] = [tuple(row[i] for i in kept) for row in rows]
    return Section(title, tuple(columns[i] for i in kept), shown, words, note)

"""The lines of a text table: CSV with its header, or a JSON object a line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Final

_DELIMITERS: Final = ",;\t|"
_HEAD: Final = 1 << 16

Fields = Sequence[str] | str
"""The fields of a line, or why it cannot be read."""


class NoTable(ValueError):
    """A file that is no table; says why."""


def csv_lines(text: IO[str], *, tabs: bool) -> tuple[list[str], Iterator[tuple[int, Fields]]]:
    """The header of a CSV, and its other lines, each with its number. Raises NoTable, also while lines are read."""
    head = text.read(_HEAD)
    if "\0" in head:
        raise NoTable("Expected text. It holds zero bytes.")
    text.seek(0)
    reader = csv.reader(text, delimiter="\t" if tabs else _delimiter(head), strict=True)
    header = next(_records(reader), (1, []))[1]
    if not any(name.strip() for name in header):
        raise NoTable("Expected a first line with the names of columns. Found none.")
    names = [name.strip() for name in header]
    return names, (_checked(line, fields, len(names)) for line, fields in _records(reader) if fields)


def _delimiter(head: str) -> str:
    """What parts the first line into the most fields."""

    def fields(delimiter: str) -> int:
        try:
            return len(next(csv.reader(head.splitlines(keepends=True), delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=fields)


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Records, each with the number of the line that it begins in."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise NoTable(f"Line {line} is no CSV: {error}. Is a quote left open?") from error


def _checked(line: int, fields: list[str], number: int) -> tuple[int, Fields]:
    """A line may be short, where spreadsheets leave out what is empty at its end, and not long."""
    if len(fields) > number and any(fields[number:]):
        return line, f"Expected {number} fields. It has {len(fields)}."
    return line, fields


def json_lines(text: IO[str]) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    """The values of each JSON object by their names, as texts, or why a line is none; each with its number."""
    for number, line in enumerate(text, 1):
        if line.strip():
            yield number, _object(line)


def _object(line: str) -> Mapping[str, str] | str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"It is no JSON: {error}."
    if not isinstance(found, dict):
        return f"Expected a JSON object. It is {line.strip():.40}."
    return {name.strip(): _text(value) for name, value in found.items()}


def _text(value: Any) -> str:
    """A value as it reads; what is empty is missing."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None | [] | {}:
            return ""
        case float() if value != value:
            return ""
        case _:
            return json.dumps(value, ensure_ascii=False)

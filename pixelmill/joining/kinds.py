"""Which kind a column has by how its values read, and the SQL that makes values of that kind of them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np

from pixelmill.store.columns import Column, ColumnKind

MOST_TEXT: Final = 64 << 10
"""Bytes that one value may have."""
MOMENT: Final = "ms since 1970"
"""The unit of a column of moments."""

# A number with zeros in front is a name for something, as are more digits than 64 bits hold.
_INTEGER: Final = r"[+-]?(0|[1-9]\d{0,18})"
_NUMBER: Final = r"[+-]?(0|[1-9]\d{0,18}|(0|[1-9]\d*)?\.\d+|(0|[1-9]\d*)\.\d*|(0|[1-9]\d*)(\.\d*)?[eE][+-]?\d+)"
_DAY: Final = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}(:?\d{2})?)?)?"
_LEAST: Final = "(-9223372036854775808)"  # stands for what is missing
_NOTHING: Final = "({v} IS NOT NULL AND lower({v}) IN ('nan', '-nan', 'na', 'n/a', '#n/a', 'null'))"
_INFINITE: Final = "({v} IS NOT NULL AND lower({v}) IN ('inf', '+inf', '-inf', 'infinity', '-infinity'))"

_INT_SQL = (
    "CASE WHEN lower({v}) IN ('true', 'false') THEN CAST(lower({v}) = 'true' AS BIGINT) "
    f"WHEN regexp_full_match({{v}}, '{_INTEGER}') THEN nullif(TRY_CAST({{v}} AS BIGINT), {_LEAST}) END"
)
_FLOAT_SQL = (
    f"CASE WHEN regexp_full_match({{v}}, '{_NUMBER}') AND isfinite(TRY_CAST({{v}} AS DOUBLE)) "
    "THEN TRY_CAST({v} AS DOUBLE) END"
)
_MOMENT_SQL = f"CASE WHEN regexp_full_match({{v}}, '{_DAY}') THEN epoch_ms(TRY_CAST({{v}} AS TIMESTAMPTZ)) END"
_TEXT_SQL = f"CASE WHEN strlen({{v}}) <= {MOST_TEXT} AND NOT contains({{v}}, chr(0)) THEN {{v}} END"

Shape = tuple[ColumnKind, str]
"""A kind, and its unit."""
_INTEGERS: Final[Shape] = ("int64", "")
_FLOATS: Final[Shape] = ("float64", "")
_SQL: Final[dict[Shape, str]] = {
    ("int64", ""): _INT_SQL, ("float64", ""): _FLOAT_SQL, ("int64", MOMENT): _MOMENT_SQL, ("text", ""): _TEXT_SQL
}  # fmt: skip


def read_as(shape: Shape, value: str) -> str:
    """SQL that reads a text as a value of a kind; NULL where it is none. `value` is SQL as well."""
    return _SQL[shape].replace("{v}", value)


def misfit(shape: Shape, value: str) -> str:
    """SQL that tells whether a text is neither a value of a kind nor, among numbers, a word for nothing."""
    is_none = f"{value} IS NOT NULL AND {read_as(shape, value)} IS NULL"
    return is_none if shape[0] == "text" else f"{is_none} AND NOT {_NOTHING.replace('{v}', value)}"


def converted(values: np.ndarray, was: Column, now: Column) -> np.ndarray:
    """Values of a column that is another by now, as far as they are something there; else missing."""
    if (was.kind, was.unit) == (now.kind, now.unit):
        return values
    filled = values == values if was.kind == "float64" else values != was.missing
    result = now.empty(len(values))
    if now.kind == "text":
        result[filled] = [str(value).encode() for value in values[filled].tolist()]
    elif (was.kind, was.unit, now.kind) == (*_INTEGERS, "float64"):
        result[filled] = values[filled]
    return result


@dataclass(frozen=True, slots=True)
class Readings:
    """How many values there are, and as what they read. `nothing` is `NaN` and `NA`, missing ones among numbers;
    what is `infinite` makes no text of them, and has no place there."""

    values: int = 0
    integers: int = 0
    floats: int = 0
    moments: int = 0
    texts: int = 0
    nothing: int = 0
    infinite: int = 0

    def __add__(self, other: Readings) -> Readings:
        return Readings(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def of(self, shape: Shape) -> int:
        """How many a column of a kind can have."""
        numbers = (self.integers, self.floats, self.moments)
        counts = (*(number + self.nothing for number in numbers), self.texts)
        return dict(zip(_SQL, counts, strict=True))[shape]


def readings_sql(value: str) -> str:
    """SQL for the numbers of `Readings`."""
    read = [f"count({read_as(shape, value)})" for shape in _SQL]
    words = [f"count(nullif({which.replace('{v}', value)}, false))" for which in (_NOTHING, _INFINITE)]
    return ", ".join([f"count({value})", *read, *words])


def shape_of(readings: Readings, before: Column | None) -> Shape:
    """The kind of a column: that of `before` as long as half of the values or more read so, but for whole numbers that
    become numbers with the first that is none; else the first that all values have, of whole numbers, numbers, moments;
    else text."""
    if before is not None:
        known = (before.kind, before.unit)
        if known == _INTEGERS and readings.of(_INTEGERS) < readings.values == readings.of(_FLOATS):
            return _FLOATS
        if known in _SQL and 2 * readings.of(known) >= readings.values:
            return known
    if readings.values == readings.nothing + readings.infinite:
        return "text", ""
    odd = {_FLOATS: readings.infinite}
    return next((shape for shape in _SQL if readings.of(shape) + odd.get(shape, 0) == readings.values), ("text", ""))

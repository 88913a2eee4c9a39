"""Facets: which values a column has, and how many of the pictures that pass the filters have each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.search.where import COLUMNS
from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.reader import BLOCK, Store

MOST: Final = 24
"""Facets that are offered."""
_VALUES: Final = 10_000
"""Different values of a text column that is one."""
_FEW: Final = 24
"""Different whole numbers that are told one by one, as labels and stars are; more of them are a range."""
_NONE: Final = -1
_LAST_MONTH: Final = 12 * (9999 - 1970)


@dataclass(frozen=True, slots=True)
class Choice:
    """A column with few different values. `codes` (N,) says which of them each row has, -1 for none."""

    column: Column
    codes: NDArray[np.signedinteger]
    values: tuple[str | int, ...]

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(values + 1,) how many of `rows` have each value, and at last none."""
        found = np.bincount(self.codes[rows].astype(np.intp) + 1, minlength=len(self.values) + 1)
        return np.roll(found, -1)

    @property
    def conditions(self) -> list[str]:
        """In SQL, for each value and at last for none: which rows have it."""
        return [*(equal(self.column, value) for value in self.values), f"{named(self.column)} IS NULL"]


@dataclass(frozen=True, slots=True)
class Months(Choice):
    """A column of times; its values are months since 1970, ascending."""

    @property
    def conditions(self) -> list[str]:
        """By month; those of `years` are others."""
        name = named(self.column)
        told = (divmod(int(month), 12) for month in self.values)
        return [
            *(f"year({name}) = {1970 + year} AND month({name}) = {month + 1}" for year, month in told),
            f"{name} IS NULL",
        ]

    @property
    def years(self) -> dict[int, str]:
        """Each year with its condition, the last one first."""
        found = sorted({1970 + int(month) // 12 for month in self.values}, reverse=True)
        return {year: f"year({named(self.column)}) = {year}" for year in found}


@dataclass(frozen=True, slots=True)
class Span:
    """A column of many different numbers, from the least to the greatest."""

    column: Column
    least: float
    greatest: float


Facet = Choice | Months | Span


@dataclass(frozen=True, slots=True)
class Facets:
    """What of a store's columns can be picked from, and the names of its other columns."""

    offered: tuple[Facet, ...]
    others: tuple[str, ...]


def named(column: Column) -> str:
    """A column in SQL."""
    return f'"{column.name}"'


def equal(column: Column, value: str | int) -> str:
    """In SQL: which rows have a value."""
    return f"{named(column)} = {literal(value)}"


def literal(value: str | int) -> str:
    """A value in SQL."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def facets_of(store: Store, rows: NDArray[np.int64]) -> Facets:
    """The facets of a store whose shown pictures are `rows`: values to choose from first, then ranges.

    No facet is a column in which nearly every picture has a value of its own, as captions are, one that says the same
    of all, or one that conditions cannot name.
    """
    found = [facet for column in _columns(store) if (facet := _facet(store, column, rows))]
    offered = sorted(found, key=lambda facet: isinstance(facet, Span))[:MOST]
    taken = {facet.column.name for facet in offered}
    return Facets(tuple(offered), tuple(column.name for column in _columns(store) if column.name not in taken))


def _columns(store: Store) -> Iterator[Column]:
    for name in store.columns:
        if '"' not in name and (name == "bytes" or name.lower() not in COLUMNS):
            yield store.columns.about(name)[1]


def _facet(store: Store, column: Column, rows: NDArray[np.int64]) -> Facet | None:
    if column.kind == "text":
        return _texts(store, column, rows)
    values = store.columns.read(column.name)[rows]
    if column.is_time:
        return _times(column, values, rows, len(store))
    known = values[np.isfinite(values) & (values != MISSING_INT)]
    few = min(_FEW, len(known) // 2)
    if column.kind == "int64" and len(np.unique(known[:BLOCK])) <= few and len(different := np.unique(known)) <= few:
        codes = np.where(values == MISSING_INT, _NONE, np.searchsorted(different, values))
        return _choice(column, _placed(codes, rows, len(store)), different.tolist(), len(known) == len(rows))
    if len(known) and (least := known.min()) < (greatest := known.max()):
        return Span(column, least.item(), greatest.item())
    return None


def _texts(store: Store, column: Column, rows: NDArray[np.int64]) -> Choice | None:
    """Looked at in blocks, until there are too many different ones."""
    numbers: dict[bytes, int] = {b"": _NONE}
    codes = np.full(len(store), _NONE, np.int16)
    for start in range(0, len(store), BLOCK):
        stop = min(start + BLOCK, len(store))
        shown = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        texts = store.columns.read(column.name, start, stop)[shown - start].tolist()
        found = [numbers.setdefault(text, len(numbers) - 1) for text in texts]
        if len(numbers) > _VALUES:
            return None
        codes[shown] = found
    values = [text.decode("utf-8", "backslashreplace") for text in list(numbers)[1:]]
    known = int((codes[rows] != _NONE).sum())
    return None if 2 * len(values) > known else _choice(column, codes, values, known == len(rows))


def _times(column: Column, values: NDArray[np.int64], rows: NDArray[np.int64], number: int) -> Months | None:
    """What is no time of the years 1 to 9999 is none."""
    numbers = values.view("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    known = (values != MISSING_INT) & (numbers >= -12 * 1969) & (numbers < _LAST_MONTH)
    different = np.unique(numbers[known])
    if not len(different):
        return None
    codes = np.where(known, np.searchsorted(different, numbers), _NONE)
    return Months(column, _placed(codes, rows, number), tuple(different.tolist()))


def _choice(
    column: Column, codes: NDArray[np.signedinteger], values: Sequence[str | int], all_known: bool
) -> Choice | None:
    useless = not values or (len(values) == 1 and all_known)
    return None if useless else Choice(column, codes, tuple(values))


def _placed(codes: NDArray[np.int64], rows: NDArray[np.int64], number: int) -> NDArray[np.signedinteger]:
    """(N,) the codes of some rows, and none of the others."""
    result: NDArray[np.signedinteger] = np.full(number, _NONE, np.int32)
    result[rows] = codes
    return result

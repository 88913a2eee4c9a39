"""The columns that are joined: of which kind they are, and what they are in each block of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Final

import numpy as np

from pixelmill.joining.engine import Engine
from pixelmill.joining.kinds import Readings, converted, misfit, read_as, readings_sql, shape_of
from pixelmill.joining.load import EXAMPLES, Bad, Given, Loaded
from pixelmill.joining.said import Said
from pixelmill.joining.table import LabelTable
from pixelmill.store.column_values import values_of
from pixelmill.store.column_writer import join
from pixelmill.store.columns import Column, ColumnGroup, Values
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store

LABEL: Final = "label"
TABLE: Final = "table"
BESIDE: Final = "beside"
"""Sources of joined columns: what people gave in the gallery, what some table gives as well, and what only came with
pictures."""
_SOURCES: Final = (LABEL, TABLE, BESIDE)
MOST_COLUMNS: Final = 64
"""A store has at most so many columns of tables, as many of labels, and as many that only came with pictures: what lies
beside one picture keeps no table out."""
_VERSION: Final = "1"


def joined_columns(store: Store) -> dict[str, ColumnGroup]:
    """The joined columns of a store, by name."""
    return {group.columns[0].name: group for group in store.manifest.columns if group.source in _SOURCES}


def room(columns: Mapping[str, ColumnGroup], source: str) -> int:
    """For how many more columns of a source there is room beside those that a store has."""
    return max(MOST_COLUMNS - sum(group.source == source for group in columns.values()), 0)


class Columns:
    """The columns that tables and what came with pictures give, of which the first counts that says something of a row.

    `names` are those that are joined: those that the store has already, but for what is `kept` as it is, and new ones
    as long as there is room; `no_room` are others. Where all rows are looked at (`is_whole`), those are `gone` that
    nobody gives any more.
    """

    def __init__(
        self, engine: Engine, store: Store, given: Sequence[Given], said: Said | None, kept: Set[str], *,
        is_whole: bool,
    ) -> None:  # fmt: skip
        self._engine, self._store, self._said = engine, store, said
        self._given = [*given, *([said.given] if said else [])]
        before = joined_columns(store)
        taken = {c.name for group in store.manifest.columns for c in group.columns} - before.keys()
        names = [name for name in dict.fromkeys(n for one in self._given for n in one.columns) if name not in kept]
        free = [name for name in names if name not in before and name not in taken]
        by_source = {source: [name for name in free if self._source(name) == source] for source in _SOURCES}
        self.new = tuple(name for source, some in by_source.items() for name in some[: room(before, source)])
        refused = [name for name in names if name in taken or (name in free and name not in self.new)]
        self.no_room = (*refused, *(said.no_room if said else ()))
        all_told = said is None or bool(said.told[store.present].all())
        self.gone = tuple(
            name for name, group in before.items()
            if is_whole and name not in names and name not in kept and (group.source != BESIDE or all_told)
        )  # fmt: skip
        self.names = [*(name for name in before if name not in kept and name not in self.gone), *self.new]
        self._readings = {name: self._read(name) for name in self.names}
        self.groups = {name: self._group(name, before.get(name)) for name in self.names}

    @property
    def are_begun(self) -> bool:
        """Whether all are in the store, as what they are now."""
        return all(self._store.manifest.group(group.fingerprint) for group in self.groups.values())

    def _giving(self, name: str) -> list[Given]:
        """Who gives a column, that last which counts first."""
        return [one for one in reversed(self._given) if name in one.columns]

    def _source(self, name: str) -> str:
        tables = [one.table for one in self._giving(name) if isinstance(one, Loaded)]
        if not tables:
            return BESIDE
        return LABEL if all(isinstance(table, LabelTable) for table in tables) else TABLE

    def _read(self, name: str) -> dict[int, Readings]:
        """How the values of a column read, by who gives them."""
        return {
            one.number: Readings(*self._engine.numbers(
                f"SELECT {readings_sql(_value(one, name))} FROM {one.lines}"  # noqa: S608 - our names
            ))
            for one in self._giving(name)
        }  # fmt: skip

    def _group(self, name: str, before: ColumnGroup | None) -> ColumnGroup:
        if before and not self._giving(name):
            return before
        source = self._source(name)
        if source == LABEL:  # stays as it was given, whatever it reads like
            return ColumnGroup(source=source, version=_VERSION, columns=(Column(name=name, kind="text"),))
        readings = sum(self._readings[name].values(), Readings())
        kind, unit = shape_of(readings, before.columns[0] if before else None)
        return ColumnGroup(source=source, version=_VERSION, columns=(Column(name=name, kind=kind, unit=unit),))

    def unfit(self, given: Given) -> Bad:
        """The values that are not of the kind of their column."""
        bad = Bad()
        for name in (name for name in self.names if name in given.columns):
            readings, column = self._readings[name][given.number], self.groups[name].columns[0]
            if number := readings.values - readings.of((column.kind, column.unit)):
                bad += Bad(number, tuple(self._examples(given, name, column)))
        return bad

    def _examples(self, given: Given, name: str, column: Column) -> Iterator[str]:
        value = _value(given, name)
        query = (
            f"SELECT line, substr({value}, 1, 60) FROM {given.lines} "  # noqa: S608 - our names
            f"WHERE {misfit((column.kind, column.unit), value)} ORDER BY line LIMIT {EXAMPLES}"
        )
        expected = {"int64": "a whole number", "float64": "a number"}.get(column.kind, "a shorter text")
        expected = f"a time ({column.unit})" if column.unit else expected
        for line, text in self._engine.rows(query):
            where = f"line {line}" if isinstance(given, Loaded) else self._store.place(line)[1]
            yield f"{where}, {name}: expected {expected}, got {text!r}"

    def join(self, writer: StoreWriter, rows: np.ndarray | None, known: np.ndarray, check: Callable[[], None]) -> int:
        """Publish the values of `rows` (None: all), of which `known` tells those that some file holds: the others keep
        theirs. In how many rows some value changed. `check` may raise before each block. Raises Overtaken."""

        def values(start: int, stop: int) -> _Block:
            check()
            return _Block(self.groups, lambda name: self._values(name, known, start, stop))

        return join(writer, list(self.groups.values()), values, rows, store=self._store)

    def _values(self, name: str, known: np.ndarray, start: int, stop: int) -> np.ndarray:
        group, (column,) = self.groups[name], self.groups[name].columns
        now = self._before(group, column, start, stop)
        is_known = self._said.told if self._said and group.source == BESIDE else known
        now[is_known[start:stop]] = column.missing
        for one in self._giving(name):
            read = read_as((column.kind, column.unit), _value(one, name))
            found = self._engine.columns(
                f"SELECT row, {read} AS value FROM {one.joined} "  # noqa: S608 - our names
                "WHERE row >= ? AND row < ? AND value IS NOT NULL", (start, stop),
            )  # fmt: skip
            given = np.ma.getdata(found["value"])
            now[np.ma.getdata(found["row"]) - start] = given if column.dtype else _encoded(given)
        return now

    def _before(self, group: ColumnGroup, column: Column, start: int, stop: int) -> np.ndarray:
        """What the store has in a column, or in that of its name whose place it takes."""
        manifest, parts = self._store.manifest, self._store.parts
        if known := manifest.group(group.fingerprint):
            return values_of(parts, known, column, start, stop)
        if served := manifest.column(column.name):
            return converted(values_of(parts, *served, start, stop), served[1], column)
        return column.empty(stop - start)


class _Block(Mapping[str, Values]):
    """The values of a block of rows, each column when it is asked for."""

    def __init__(self, names: Mapping[str, object], values: Callable[[str], Values]) -> None:
        self._names, self._values = names, values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Values:
        return self._values(name)


def _encoded(texts: np.ndarray) -> np.ndarray:
    result = np.empty(len(texts), object)
    result[:] = [text.encode() for text in texts]
    return result


def _value(given: Given, name: str) -> str:
    """SQL for the text of a column; NULL where there is none."""
    return f"nullif({given.columns[name]}, '')"

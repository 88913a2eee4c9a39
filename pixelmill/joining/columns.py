"""The columns of tables that were loaded: of which kind they are, and what they are in each block of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from pixelmill.joining.engine import Engine
from pixelmill.joining.kinds import Readings, read_as, readings_sql, shape_of
from pixelmill.joining.load import EXAMPLES, Bad, Loaded
from pixelmill.joining.match import prepare, put_digests, put_keys, ranked
from pixelmill.store.column_values import values_of
from pixelmill.store.column_writer import JOINED_BLOCK, join
from pixelmill.store.columns import Column, ColumnGroup, Values
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store

SOURCE: Final = "table"
MOST_COLUMNS: Final = 64
"""A store has at most so many columns that were joined."""
_VERSION: Final = "1"


def joined_columns(store: Store) -> dict[str, ColumnGroup]:
    """The columns of a store that tables gave, by name."""
    return {group.columns[0].name: group for group in store.manifest.columns if group.source == SOURCE}


class Columns:
    """The columns that some loaded tables give, in the order of the tables and of their columns.

    `names` are those that are joined: those that the store has already, and new ones as long as there is room;
    `no_room` are others. Names in `kept` stay as they are.
    """

    def __init__(self, engine: Engine, store: Store, tables: Sequence[Loaded], kept: Sequence[str]) -> None:
        self._engine, self._store, self._tables = engine, store, tables
        before = joined_columns(store)
        taken = {c.name for group in store.manifest.columns if group.source != SOURCE for c in group.columns}
        given = [name for name in dict.fromkeys(n for table in tables for n in table.columns) if name not in kept]
        free = [name for name in given if name not in before and name not in taken]
        room = max(MOST_COLUMNS - len(before), 0)
        self.new, self.no_room = tuple(free[:room]), (*free[room:], *(name for name in given if name in taken))
        self.names = [name for name in given if name in before or name in self.new]
        self._readings = {name: self._read(name) for name in self.names}
        self.groups = {name: self._group(name, before.get(name)) for name in self.names}

    @property
    def are_begun(self) -> bool:
        """Whether all are in the store, as what they are now."""
        return all(self._store.manifest.group(group.fingerprint) for group in self.groups.values())

    def _read(self, name: str) -> dict[int, Readings]:
        """How the values of a column read, by the table."""
        return {
            table.number: Readings(*self._engine.numbers(
                f"SELECT {readings_sql(_value(table, name))} FROM {table.lines}"  # noqa: S608 - our names
            ))
            for table in self._tables if name in table.columns
        }  # fmt: skip

    def _group(self, name: str, before: ColumnGroup | None) -> ColumnGroup:
        readings = sum(self._readings[name].values(), Readings())
        kind, unit = shape_of(readings, before.columns[0] if before else None)
        return ColumnGroup(source=SOURCE, version=_VERSION, columns=(Column(name=name, kind=kind, unit=unit),))

    def unreadable(self, table: Loaded) -> Bad:
        """The values of a table that are not of the kind of their column."""
        bad = Bad()
        for name in (name for name in self.names if name in table.columns):
            readings, column = self._readings[name][table.number], self.groups[name].columns[0]
            if number := readings.values - readings.of((column.kind, column.unit)):
                bad += Bad(number, tuple(self._examples(table, name, column)))
        return bad

    def _examples(self, table: Loaded, name: str, column: Column) -> Iterator[str]:
        value = _value(table, name)
        query = (
            f"SELECT line, substr({value}, 1, 60) FROM {table.lines} WHERE {value} IS NOT NULL "  # noqa: S608
            f"AND {read_as((column.kind, column.unit), value)} IS NULL ORDER BY line LIMIT {EXAMPLES}"
        )
        expected = {"int64": "a whole number", "float64": "a number"}.get(column.kind, "a shorter text")
        expected = f"a time ({column.unit})" if column.unit else expected
        for line, text in self._engine.rows(query):
            yield f"line {line}, {name}: expected {expected}, got {text!r}"

    def join(self, writer: StoreWriter, rows: np.ndarray | None, known: np.ndarray, check: Callable[[], None]) -> int:
        """Publish the values of `rows` (None: all), of which `known` tells those that some file holds: the others keep
        theirs. In how many rows some value changed. `check` may raise before each block."""

        def values(start: int, stop: int) -> _Block:
            check()
            return _Block(self._engine, self._store, self._tables, self.groups, known, (start, stop))

        return join(writer, list(self.groups.values()), values, rows)


class _Block(Mapping[str, Values]):
    """The values of a block of rows, each column when it is asked for."""

    def __init__(
        self, engine: Engine, store: Store, tables: Sequence[Loaded], groups: Mapping[str, ColumnGroup],
        known: np.ndarray, rows: tuple[int, int],
    ) -> None:  # fmt: skip
        self._engine, self._store, self._tables, self._groups = engine, store, tables, groups
        self._rows = rows
        self._known = known[slice(*rows)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, name: str) -> Values:
        group, (column,) = self._groups[name], self._groups[name].columns
        now = values_of(self._store.parts, self._store.manifest.group(group.fingerprint) or group, column, *self._rows)
        now[self._known] = column.missing
        for table in reversed([table for table in self._tables if name in table.columns]):
            read = read_as((column.kind, column.unit), _value(table, name))
            found = self._engine.columns(
                f"SELECT row, {read} AS value FROM joined_{table.number} "  # noqa: S608 - our names
                "WHERE row >= ? AND row < ? AND value IS NOT NULL", self._rows,
            )  # fmt: skip
            given = np.ma.getdata(found["value"])
            at = np.ma.getdata(found["row"]) - self._rows[0]
            now[at] = given if column.dtype else _encoded(given)
        return now


def _encoded(texts: np.ndarray) -> np.ndarray:
    result = np.empty(len(texts), object)
    result[:] = [text.encode() for text in texts]
    return result


def _value(table: Loaded, name: str) -> str:
    """SQL for the text of a column in the lines of a table; NULL where there is none."""
    return f"nullif({table.columns[name]}, '')"


def put_rows(
    engine: Engine, writer: StoreWriter, store: Store, tables: Sequence[Loaded], rows: np.ndarray | None,
    check: Callable[[], None],
) -> np.ndarray:  # fmt: skip
    """Tell the engine of the files of `rows` (None: all), by the keys of its tables; (N,) bool: which of all rows are
    among them, and have a file. `check` may raise before each block."""
    kinds = list(dict.fromkeys(table.table.key for table in tables))
    known = np.zeros(len(store), bool)
    prepare(engine, kinds)
    with engine.transaction():
        for start in range(0, len(store), JOINED_BLOCK):
            stop = min(start + JOINED_BLOCK, len(store))
            wanted = np.arange(start, stop) if rows is None else rows[(rows >= start) & (rows < stop)]
            if len(wanted):
                check()
                places = ranked(store, writer.ledger, start, stop, wanted.tolist())
                known[[place.row for _, place in places]] = True
                for kind in kinds:
                    if kind == "sha256":
                        put_digests(engine, store, start, [row for row in wanted.tolist() if known[row]])
                    else:
                        put_keys(engine, kind, places)
    return known

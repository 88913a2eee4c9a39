"""A table loaded into the engine: `lines_<n>` has the number of each line, its key, and its values as texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pixelmill.batches import batched
from pixelmill.errors import nearest
from pixelmill.joining.engine import Engine
from pixelmill.joining.fetch import text_of
from pixelmill.joining.lines import Fields, NoTable, csv_lines, json_lines
from pixelmill.joining.table import Table
from pixelmill.sources.said import column_name
from pixelmill.watch.calls import begin

EXAMPLES: Final = 3
_AT_ONCE: Final = 20_000
_MOST_COLUMNS: Final = 2000
_PARQUET_TEXT: Final = {
    "BOOLEAN": "CAST({c} AS VARCHAR)", "VARCHAR": "{c}", "BLOB": "''", "BIT": "''",
    "DOUBLE": "CASE WHEN NOT isnan({c}) THEN CAST({c} AS VARCHAR) END",
    "FLOAT": "CASE WHEN NOT isnan({c}) THEN CAST(CAST({c} AS DOUBLE) AS VARCHAR) END",
}  # fmt: skip
_BINARY: Final = ("BLOB", "BIT")
_NESTED: Final = ("STRUCT", "MAP", "UNION", "VARIANT")


@dataclass(frozen=True, slots=True)
class Bad:
    """How many things of a table cannot be read, and a few of them."""

    number: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: Bad) -> Bad:
        return Bad(self.number + other.number, (*self.examples, *other.examples)[:EXAMPLES])


@dataclass(frozen=True, slots=True)
class Given:
    """Values in the engine: which column of `lines_<number>` has those of a column of the store. `joined_<number>` has
    them by rows."""

    number: int
    columns: Mapping[str, str]

    @property
    def lines(self) -> str:
        """The SQL name of its lines."""
        return f"lines_{self.number}"

    @property
    def joined(self) -> str:
        """The SQL name of what is joined to rows."""
        return f"joined_{self.number}"


@dataclass(frozen=True, slots=True)
class Loaded(Given):
    """A table in the engine."""

    table: Table
    bad: Bad = field(default_factory=Bad)
    notes: tuple[str, ...] = ()


class Lines:
    """Lines on their way into the engine. `headers` are those of the columns, in their order there."""

    def __init__(self, engine: Engine, name: str, headers: Sequence[str] = ()) -> None:
        self._engine, self._name = engine, name
        self.headers = list(headers)
        self.bad = Bad()
        declared = "".join(f", c{at} VARCHAR DEFAULT ''" for at in range(len(headers)))
        engine.run(f"CREATE TABLE {name} (line BIGINT{declared})")

    def put(self, lines: Sequence[int], columns: Sequence[Sequence[str]]) -> None:
        self._engine.insert(self._name, [lines], columns)

    def refuse(self, line: int, why: str) -> None:
        self.bad += Bad(1, (f"line {line}: {why}",))

    def widen(self, header: str) -> None:
        """One more column, which lines from before have nothing in."""
        if len(self.headers) >= _MOST_COLUMNS:
            raise NoTable(f"Expected at most {_MOST_COLUMNS:,} columns. It has more.")
        self._engine.run(f"ALTER TABLE {self._name} ADD COLUMN c{len(self.headers)} VARCHAR DEFAULT ''")
        self.headers.append(header)


def load(engine: Engine, table: Table, number: int, file: Path) -> Loaded:
    """Load a table that was fetched to `file`. Raises NoTable, OSError and EngineError with what is wrong."""
    name, place = f"lines_{number}", table.path.lower().partition("?")[0]
    notes, bad = list[str](), Bad()
    with engine.transaction():
        if place.endswith(".parquet"):
            headers, binary = _parquet(engine, name, file)
            notes += [f"{column!r} is binary, and left out" for column in binary]
        else:
            lines, encoding = _text(engine, name, table, file)
            headers, bad = lines.headers, lines.bad
            if encoding == "cp1252":
                notes.append("it is no UTF-8, and was read as Western European (cp1252)")
    columns, told = _columns(table, headers)
    key = _key_of(table, headers)
    engine.run(f"ALTER TABLE {name} RENAME COLUMN c{key} TO key")
    return Loaded(number, columns, table, bad, (*notes, *told))


def _text(engine: Engine, name: str, table: Table, file: Path) -> tuple[Lines, str]:
    place = table.path.lower().partition("?")[0]
    with text_of(file, packed=place.endswith(".gz")) as (text, encoding):
        if "jsonl" in place.rpartition("/")[2] or "ndjson" in place.rpartition("/")[2]:
            lines = Lines(engine, name)
            _load_objects(lines, table, json_lines(text))
            return lines, encoding
        header, records = csv_lines(text, tabs=place.removesuffix(".gz").endswith(".tsv"))
        wanted = [at for at, column in enumerate(header) if table.wants(column)]
        lines = Lines(engine, name, [header[at] for at in wanted])
        _load_records(lines, wanted, records)
        return lines, encoding


def _load_records(lines: Lines, wanted: Sequence[int], records: Iterable[tuple[int, Fields]]) -> None:
    for some in batched(records, _AT_ONCE):
        begin("read", "a table")
        good = [(line, fields) for line, fields in some if not isinstance(fields, str)]
        for line, fields in some:
            if isinstance(fields, str):
                lines.refuse(line, fields)
        columns = [[fields[at] if at < len(fields) else "" for _, fields in good] for at in wanted]
        lines.put([line for line, _ in good], columns)


def _load_objects(lines: Lines, table: Table, objects: Iterable[tuple[int, Mapping[str, str] | str]]) -> None:
    for some in batched(objects, _AT_ONCE):
        begin("read", "a table")
        good = list[tuple[int, Mapping[str, str]]]()
        for line, values in some:
            if isinstance(values, str):
                lines.refuse(line, values)
            else:
                good.append((line, values))
        known = set(lines.headers)
        for name in dict.fromkeys(name for _, values in good for name in values):
            if name not in known and table.wants(name):
                lines.widen(name)
        columns = [[_clean(values.get(name, "")) for _, values in good] for name in lines.headers]
        lines.put([line for line, _ in good], columns)


def _clean(text: str) -> str:
    """JSON may hold halves of characters, which UTF-8 has none for."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _parquet(engine: Engine, name: str, file: Path) -> tuple[list[str], list[str]]:
    """The columns of a Parquet file, which is loaded; those of them that are binary."""
    given = [(row[0], row[1]) for row in engine.rows("DESCRIBE SELECT * FROM read_parquet(?)", [str(file)])]
    selected = ", ".join(f"{_as_text(kind, f'p.c{at}')} AS c{at}" for at, (_, kind) in enumerate(given))
    renamed = ", ".join(f"c{at}" for at in range(len(given)))
    engine.run(
        f"CREATE TABLE {name} AS SELECT row_number() OVER () AS line, {selected} "  # noqa: S608 - our names
        f"FROM read_parquet(?) AS p({renamed})",
        [str(file)],
    )
    return [column for column, _ in given], [column for column, kind in given if kind in _BINARY]


def _as_text(kind: str, column: str) -> str:
    if kind.endswith("]") or kind.startswith(_NESTED):
        return f"CAST(to_json({column}) AS VARCHAR)"
    return _PARQUET_TEXT.get(kind, "CAST({c} AS VARCHAR)").format(c=column)


def _key_of(table: Table, headers: Sequence[str]) -> int:
    """Which column has the key. Raises NoTable."""
    lowered = [header.lower() for header in headers]
    for name in table.key_columns:
        if name in lowered:
            return lowered.index(name)
    wanted = repr(table.on) if table.on else " or ".join(map(repr, table.key_columns))
    hint = "" if table.on else ", or `on` that names another"
    raise NoTable(f"Expected a column {wanted} for key = {table.key!r}{hint}. It has: {_named(headers)}.")


def _named(headers: Sequence[str]) -> str:
    more = f" and {len(headers) - 20} more" if len(headers) > 20 else ""
    return ", ".join(headers[:20]) + more or "none"


def _columns(table: Table, headers: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Where the values of each column that is joined are, by its name in the store; what there is to tell of names."""
    missing = [name for name in table.columns or () if name not in headers]
    if missing:
        hint = nearest(missing[0], headers)
        raise NoTable(f"Expected a column {missing[0]!r}.{hint} It has: {_named(headers)}.")
    key, columns, notes = _key_of(table, headers), dict[str, str](), list[str]()
    tell: Callable[[str], None] = notes.append
    for at, header in enumerate(headers):
        if at != key and (table.columns is None or header in table.columns):
            name = column_name(header, "table")
            told = partial("a column called {!r} is left out: {}".format, header)
            if not name:
                tell(told("that is no name"))
            elif name in columns:
                tell(told(f"there is another {name!r}"))
            else:
                columns[name] = f"c{at}"
    return columns, notes

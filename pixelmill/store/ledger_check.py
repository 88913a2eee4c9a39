"""Is a ledger what a ledger should be: its tables, its pages, and what stands in each cell?"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from pixelmill.formatting import number_of
from pixelmill.store.database import MOST

_TYPES = {"BLOB": "blob", "INTEGER": "integer", "REAL": "real", "TEXT": "text"}
"""What SQLite calls a value (`typeof`) by the type that a column declares; in the file any column may hold any."""
_PROBLEMS = 10
"""Problems of pages that are told one by one."""

_NO_SCAN = f"scan NOT BETWEEN 0 AND {MOST - 1}"
_RULES = {
    "rows": "length(sha256) <> 32 OR row < 0",
    "files": f"length(path) = 0 OR row < 0 OR unsettled NOT IN (0, 1, 2) OR gone NOT IN (0, 1, 2) OR {_NO_SCAN}",
    "seen": _NO_SCAN,
    "work": _NO_SCAN,
    "beside": f"length(path) = 0 OR unread NOT IN (0, 1, 2) OR unsettled NOT IN (0, 1, 2) OR gone NOT IN (0, 1) "
    f"OR kind NOT IN ('txt', 'cls', 'json', 'xmp', 'row') OR {_NO_SCAN}",
    "said": "length(path) = 0 OR NOT is_json(CAST(said AS BLOB), 'dict')",
    "stale": "row < 0 OR told NOT IN (1, 2)",
    "gone_since": "row < 0",
    "quarantine": "row < 0 OR row IS NULL AND path IS NULL",
    "runs": "report IS NOT NULL AND NOT is_json(CAST(report AS BLOB), 'dict')",
    "meta": f"""
        key IN ('scan', 'rows', 'settled_rows', 'told_rows')
        AND (typeof(value) <> 'integer' OR value NOT BETWEEN 0 AND {MOST - 1})
        OR key = 'store_id' AND typeof(value) <> 'text' OR key = 'rehashed' AND typeof(value) <> 'blob'
        OR key LIKE 'checks %' AND NOT is_json(CAST(value AS BLOB), 'list')
        OR key LIKE 'begun %' AND NOT is_json(CAST(value AS BLOB), 'dict')
    """,
}
"""What a row of a table must not be, beside of other types than the table declares."""


@dataclass(frozen=True, slots=True)
class BadCells:
    """Rows of a table, those for which `which` is true, that hold what no ledger writes there."""

    table: str
    which: str
    rows: int
    texts: tuple[str, ...] = ()
    """The columns of the table that hold texts."""

    def __str__(self) -> str:
        return f"its table {self.table} has {number_of(self.rows, 'row')} with what no ledger writes there"


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a ledger: with it as a whole, in words, and in cells of tables that are whole themselves."""

    structure: tuple[str, ...] = ()
    cells: tuple[BadCells, ...] = ()

    def __iter__(self) -> Iterator[str]:
        yield from (*self.structure, *map(str, self.cells))


Schema = dict[tuple[str, str], str]
"""The text by which each table, index or trigger was made, by its type and name."""


def schema_of(db: sqlite3.Connection) -> Schema:
    """What a database says of itself."""
    made = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(str(kind), str(name)): " ".join(str(text).split()) for kind, name, text in made}


def pages_shared(db: sqlite3.Connection) -> list[str]:
    """Tables and indexes that would write into each other, in words."""
    names = (
        "SELECT group_concat(name, ' and ') FROM sqlite_master WHERE rootpage > 0 GROUP BY rootpage HAVING count(*) > 1"
    )
    return [f"its {both} lie in one place" for (both,) in db.execute(names)]


def schema_made_by(statements: Iterable[str]) -> Schema:
    """What SQLite makes of statements."""
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in statements:
            db.execute(statement)
        return schema_of(db)


def wrong_schema(found: Schema, expected: Schema, optional: Iterable[str] = ()) -> list[str]:
    """Where a schema is not the one expected, in words; tables that are `optional` may be missing. What others have
    added, as statistics, harms nothing, but for triggers."""
    lacking = [key for key in expected if key not in found and key[1] not in optional]
    altered = [key for key in expected if found.get(key, expected[key]) != expected[key]]
    strange = [key for key in found if key[0] == "trigger" and key not in expected]
    return [
        *(f"its {kind} {name} is missing" for kind, name in lacking),
        *(f"its {kind} {name} is not as it was made" for kind, name in altered),
        *(f"its {kind} {name!r:.50} is none of its own" for kind, name in strange),
    ]


def examine(db: sqlite3.Connection, expected: Schema, optional: Iterable[str] = ()) -> Findings:
    """Everything wrong with a ledger that can be seen without its store. Raises sqlite3.Error where SQLite gives up."""
    structure = [*wrong_schema(schema_of(db), expected, optional), *_wrong_pages(db)]
    return Findings(tuple(structure)) if structure else Findings(cells=tuple(bad_cells(db, expected)))


def bad_cells(db: sqlite3.Connection, expected: Schema) -> Iterator[BadCells]:
    """Rows of the expected tables that hold what does not belong there."""
    add_functions(db)
    for kind, table in expected:
        columns = db.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,)).fetchall()
        if kind == "table" and columns:
            which = " OR ".join([*(_wrong_type(*column) for column in columns if column[1]), _RULES.get(table, "0")])
            rows = int(db.execute(f"SELECT count(*) FROM {table} WHERE {which}").fetchone()[0])  # noqa: S608 - ours
            if rows:
                texts = tuple(name for name, declared, *_ in columns if declared == "TEXT")
                yield BadCells(table, which, rows, texts)


def add_functions(db: sqlite3.Connection) -> None:
    """Let a connection evaluate the conditions of `BadCells`."""
    db.create_function("is_utf8", 1, _is_utf8, deterministic=True)
    db.create_function("is_json", 2, _is_json, deterministic=True)
    db.create_function("as_utf8", 1, _as_utf8, deterministic=True)


def _wrong_pages(db: sqlite3.Connection) -> list[str]:
    told = [str(line) for (line,) in db.execute(f"PRAGMA integrity_check({_PROBLEMS})")]
    return [] if told == ["ok"] else told


def _wrong_type(name: str, declared: str, not_null: int, key: int) -> str:
    kinds = [_TYPES[declared], *([] if not_null or key else ["null"])]
    wrong = f"typeof({name}) NOT IN ({', '.join(map(repr, kinds))})"
    return f"{wrong} OR NOT is_utf8(CAST({name} AS BLOB))" if declared == "TEXT" else wrong


def _is_utf8(text: bytes | None) -> bool:
    try:
        (text or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_utf8(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _is_json(text: bytes | None, kind: str) -> bool:
    try:
        return type(json.loads(text or b"")).__name__ == kind
    except (ValueError, RecursionError):
        return False

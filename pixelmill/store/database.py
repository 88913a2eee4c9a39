"""The connection to a ledger: waits for others, and tells in words where SQLite or a cell of the file is wrong."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_type_hints

from pixelmill.errors import StoreError
from pixelmill.store.lock import PATIENCE, TELL_AFTER
from pixelmill.store.sqlite_errors import is_busy, unusable

log = logging.getLogger(__name__)

_AT_ONCE: Final = 1.0
"""Seconds that SQLite itself waits: no signal, as Ctrl-C sends one, is heard meanwhile."""
MOST: Final = 2**53
"""Numbers beyond this count nothing, and would overflow what is computed with them."""

Cell = None | int | float | str | bytes
"""What SQLite lets any column hold, whatever its table declares."""
Values = Sequence[Cell] | Mapping[str, Cell]
Row = TypeVar("Row", bound=NamedTuple)

_RULES: Final[dict[str, Callable[[Any], bool]]] = {
    "row": lambda row: row is None or 0 <= row < MOST,
    "sha256": lambda sha256: len(sha256) == 32,
    "path": lambda path: b"/" in path,
}
"""What a field of such a name, in any row that is read, has to be beside of its type."""


class RowNumber(NamedTuple):
    """A row of the store."""

    row: int


class PatientConnection(sqlite3.Connection):
    """Tries a statement again while others keep the database locked, outside of a transaction or at its end.

    Inside a transaction that began with BEGIN IMMEDIATE nobody else is in the way.
    """

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        return self._waiting(lambda: sqlite3.Connection.execute(self, *statement))

    def executescript(self, *script: Any) -> sqlite3.Cursor:
        return self._waiting(lambda: sqlite3.Connection.executescript(self, *script))

    def _waiting(self, do: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        begun, told = time.monotonic(), False
        while True:
            try:
                return do()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - begun
                if not is_busy(error) or waited >= PATIENCE:
                    raise
                if not told and waited >= TELL_AFTER:
                    log.warning("waiting for the ledger %s: another program keeps it locked", self._file())
                    told = True
                time.sleep(0.05)

    def _file(self) -> str:
        return str(sqlite3.Connection.execute(self, "PRAGMA database_list").fetchone()[2])


def connect(where: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, for one thread at a time. What is no UTF-8 in a text is read as U+FFFD: a reason
    or a report with a damaged byte is still worth reading, and `ledger_check` names it."""
    db = sqlite3.connect(
        where, timeout=_AT_ONCE, isolation_level=None, check_same_thread=False, uri=uri, factory=PatientConnection
    )
    db.text_factory = lambda text: text.decode("utf-8", "replace")
    return db


class Database:
    """A ledger's tables, asked and written in SQL.

    What damage can cause comes out as a StoreError that names the ledger `path`: SQLite that gives up, and cells that
    hold what no ledger writes there. Errors of programs stay what they are.

    A row is read into a NamedTuple, which says by its annotations what each cell has to be.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._raised: Exception | None = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; waits for another writer's transaction."""
        self.write("BEGIN IMMEDIATE")
        try:
            yield
            self.write("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.write("ROLLBACK")

    @contextmanager
    def as_of_now(self) -> Iterator[None]:
        """Read the ledger as it is now, whatever others write meanwhile."""
        self.write("BEGIN")
        try:
            yield
        finally:
            self.write("COMMIT")

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Tell in words what SQLite cannot do for the block."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def write(self, statement: str, values: Values = ()) -> int:
        """Carry out a statement; how many rows it has touched."""
        return self._execute(statement, values).rowcount

    def write_all(self, statement: str, rows: Iterable[Sequence[Cell]]) -> None:
        """Carry out a statement for each of `rows`."""
        with self.in_words():
            self.connection.executemany(statement, rows)

    def cells(self, query: str, values: Values = ()) -> Iterator[tuple[Cell, ...]]:
        """Rows as they are, for whoever compares them or does without those that make no sense."""
        return self._fetched(self._execute(query, values))

    def read(self, shape: type[Row], query: str, values: Values = ()) -> Iterator[Row]:
        """The rows that a query finds now, each as a `shape`, which is a NamedTuple."""
        return self._decoded(shape, self._execute(query, values))

    def one(self, shape: type[Row], query: str, values: Values = ()) -> Row | None:
        """The first row that a query finds."""
        return next(self.read(shape, query, values), None)

    def has_table(self, name: str) -> bool:
        """Whether there is a table of that name: an older program may have made the database."""
        return bool(self.number("SELECT count(*) FROM sqlite_master WHERE name = ?", name))

    def number(self, query: str, *values: Cell) -> int:
        """The number that a query gives, as a count is."""
        (found,) = next(self.cells(query, values))
        if not isinstance(found, int):
            raise self.damaged(f"it holds {found!r:.50} for a number")
        return found

    def meta(self, key: str) -> Cell:
        """What is kept under a key; None if nothing is."""
        return next(self.cells("SELECT value FROM meta WHERE key = ?", (key,)), (None,))[0]

    def meta_number(self, key: str) -> int:
        """A number kept under a key; 0 if none is."""
        found = self.meta(key)
        if not (found is None or (isinstance(found, int) and 0 <= found < MOST)):
            raise self.damaged(f"it holds {found!r:.50} for the number {key}")
        return found or 0

    def set_meta(self, key: str, value: Cell) -> None:
        self.write("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def add_function(self, name: str, arguments: int, function: Callable[..., bool]) -> None:
        """Let SQL call a function of ours, which takes bytes; what it raises comes out as it is."""

        def call(*cells: Cell) -> bool:
            try:
                for cell in cells:
                    if not isinstance(cell, bytes):
                        raise self.damaged(f"it holds {cell!r:.50} for a path")
                return function(*cells)
            except Exception as error:
                self._raised = error
                raise

        self.connection.create_function(name, arguments, call)

    def damaged(self, what: str) -> StoreError:
        """The error for a ledger that holds what no ledger holds."""
        return unusable(self.path, what)

    def _execute(self, statement: str, values: Values) -> sqlite3.Cursor:
        try:
            return self.connection.execute(statement, values)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def _fetched(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Cell, ...]]:
        try:
            yield from cursor
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    def _decoded(self, shape: type[Row], cursor: sqlite3.Cursor) -> Iterator[Row]:
        layout = _layout(shape)
        for cells in self._fetched(cursor):
            if tuple(map(type, cells)) not in layout.types or not all(fits(cells[at]) for at, fits in layout.rules):
                raise self.damaged(f"it holds {cells!r:.100} for {', '.join(layout.names)}")
            yield shape._make(cells)

    def _told(self, error: sqlite3.DatabaseError) -> Exception:
        """What to raise for an error of SQLite: what it is to blame for, in words; what we are, as it is."""
        raised, self._raised = self._raised, None
        return raised or (error if isinstance(error, sqlite3.ProgrammingError) else unusable(self.path, error))


class _Layout(NamedTuple):
    """What the cells of a row have to be: all that their types may be together, and rules for some of them."""

    names: tuple[str, ...]
    types: frozenset[tuple[type, ...]]
    rules: tuple[tuple[int, Callable[[Any], bool]], ...]


@cache
def _layout(shape: type[NamedTuple]) -> _Layout:
    hints = get_type_hints(shape)
    kinds = [get_args(hint) or (hint,) for hint in hints.values()]
    rules = tuple((at, _RULES[name]) for at, name in enumerate(hints) if name in _RULES)
    return _Layout(tuple(hints), frozenset(product(*kinds)), rules)

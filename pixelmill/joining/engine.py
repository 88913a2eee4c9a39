"""DuckDB with a database of its own in a folder of its own: it reads nothing else, and keeps little in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SETTINGS: Final = {
    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
    "python_enable_replacements": "false", "memory_limit": "1GB", "threads": "4",
}  # fmt: skip


class EngineError(PixelmillError, RuntimeError):
    """What DuckDB cannot do, in its words."""


class Engine:
    """Runs SQL over tables in the folder `place`. Names of tables are ours; those of people are never SQL. All raise
    EngineError."""

    def __init__(self, place: Path, connection: DuckDBPyConnection) -> None:
        self.place = place
        self._connection = connection

    def run(self, statement: str, values: Sequence[Any] = ()) -> None:
        with _in_words():
            self._connection.execute(statement, values)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _in_words():
            return self._connection.execute(query, values).fetchall()

    def numbers(self, query: str, values: Sequence[Any] = ()) -> tuple[int, ...]:
        """The one row of whole numbers that a query gives."""
        return self.rows(query, values)[0]

    def columns(self, query: str, values: Sequence[Any] = ()) -> Mapping[str, NDArray[Any]]:
        with _in_words():
            return self._connection.execute(query, values).fetchnumpy()

    def insert(self, table: str, numbers: Sequence[Sequence[int]], texts: Sequence[Sequence[str]]) -> None:
        """Add rows to a table that has first columns of numbers, then columns of texts; each is given as a whole."""
        batch: dict[str, NDArray[Any]] = {f"n{at}": np.array(column, np.int64) for at, column in enumerate(numbers)}
        for at, column in enumerate(texts):
            batch[f"t{at}"] = np.empty(len(column), object)
            batch[f"t{at}"][:] = column
        with _in_words():
            self._connection.register("batch", batch)
            self._connection.execute(f"INSERT INTO {table} SELECT * FROM batch")  # noqa: S608 - our names
            self._connection.unregister("batch")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and faster than one insert after the other."""
        self.run("BEGIN")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK")
            raise
        self.run("COMMIT")


@contextmanager
def _in_words() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise EngineError(str(error).partition("\n")[0]) from error


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine, which takes its folder with it when it goes."""
    import duckdb

    with TemporaryDirectory(prefix="pixelmill-join-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        settings: dict[str, Any] = {**_SETTINGS, "temp_directory": str(place / "spilled")}
        with duckdb.connect(place / "join.duckdb", config=settings) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET allowed_directories = [$place]", {"place": f"{place}/"})
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield Engine(place, connection)

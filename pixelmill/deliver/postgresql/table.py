"""The rows of one generation in a table: made, copied in, changed, counted, read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import psycopg
from psycopg import sql

from pixelmill.deliver.base import Changes, Held, Rows
from pixelmill.deliver.generation import Shape
from pixelmill.deliver.postgresql.connection import Connection, written
from pixelmill.deliver.postgresql.rows import batch_of, column_of, columns_of, held_of, packed
from pixelmill.deliver.postgresql.words import said
from pixelmill.errors import DeliveryRefused

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DIMS: Final = 16_000
"""A `vector` of pgvector has no more."""
_CHANGED: Final = "pixelmill_changed"
_EXTENSION: Final = """
SELECT n.nspname FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid AND d.classid = 'pg_type'::regclass
JOIN pg_type t ON t.oid = d.objid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE e.extname = 'vector' AND t.typname = 'vector' AND d.deptype = 'e'
"""
_MAKE: Final = """
CREATE TABLE {table} ({columns}, CONSTRAINT {mark} PRIMARY KEY (row) INCLUDE (digest)) WITH (toast_tuple_target = 8160)
"""
_COPY: Final = "COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
_STAGE: Final = "CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"
_CHANGE: Final = "UPDATE {table} AS t SET ({columns}) = ROW({values}) FROM {staged} AS s WHERE t.row = s.row"
_HELD: Final = """
SELECT string_agg(int8send(row) || int8send(coalesce(digest, -1)), ''::bytea) FROM {table}
WHERE row >= {start} AND ({stop} IS NULL OR row < {stop}) GROUP BY row / 65536
"""
_FEW: Final = 1000
"""So many rows are looked for one by one; of more, all between the first and the last are looked through."""


class Table:
    """Rows in the table `name`; whoever calls is in a transaction of the connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = sql.Identifier(connection.schema, name)

    def make(self, shape: Shape, mark: str) -> None:
        """An empty one, whose primary key is called `mark`. Vectors stand in its rows and not beside them, where
        PostgreSQL puts what is longer than 2 kB: it writes them in half the time and compares them in a fourth."""
        if shape.dim > MOST_DIMS:
            raise DeliveryRefused(
                f"Expected vectors of at most {MOST_DIMS:,} dimensions, as pgvector keeps them. Got {shape.dim:,}: "
                "deliver fewer models."
            )
        columns = [
            written("{name} {kind}{rest}", name=sql.Identifier(name), kind=written(kind), rest=written(rest))
            for name, kind, rest in columns_of(shape, _vector(self._connection))
        ]
        self._execute(_MAKE, columns=sql.SQL(", ").join(columns), mark=sql.Identifier(mark))

    def change(self, changes: Changes) -> None:
        """Take rows away that are gone, copy new ones in, and change the others: what others keep beside them in the
        row, or refers to it, stays."""
        if len(changes.gone):
            gone = written("DELETE FROM {table} WHERE row = ANY(%s)", table=self.name)
            self._connection.execute(gone, [changes.gone.tolist()])
        if changes.batch.num_rows:
            is_there = self._are_there(changes.batch)
            self._copy(self.name, changes.batch, ~is_there)
            self._update(changes.batch, is_there)

    def _are_there(self, batch: pa.RecordBatch) -> np.ndarray:
        rows = batch.column("row").to_numpy()
        where = "row BETWEEN %s AND %s" if len(rows) > _FEW else "row = ANY(%s)"
        values = [int(rows[0]), int(rows[-1])] if len(rows) > _FEW else [rows.tolist()]
        query = written("SELECT row FROM {table} WHERE {where}", table=self.name, where=written(where))
        return np.isin(rows, np.array(self._connection.rows(query, values), np.int64).reshape(-1))

    def _copy(self, table: sql.Identifier, batch: pa.RecordBatch, which: np.ndarray) -> None:
        import pyarrow as pa

        if not which.any():
            return
        some = batch if which.all() else batch.filter(pa.array(which))
        names, pieces = packed(some)
        self._connection.copy_in(written(_COPY, table=table, columns=_columns(names)), pieces)

    def _update(self, batch: pa.RecordBatch, which: np.ndarray) -> None:
        if not which.any():
            return
        staged = sql.Identifier("pg_temp", _CHANGED)
        self._execute(_STAGE, name=sql.Identifier(_CHANGED), columns=_columns(batch.schema.names))
        self._copy(staged, batch, which)
        self._execute(
            _CHANGE, columns=_columns(batch.schema.names), values=_columns(batch.schema.names, of="s"), staged=staged
        )
        self._execute("DROP TABLE {staged}", staged=staged)  # there may be more in this transaction

    def held(self, start: int, stop: int | None) -> Held:
        """Rows from `start` to before `stop`, with their digests; what somebody has emptied has a digest of -1."""
        query = written(_HELD, table=self.name, start=start, stop=stop)
        return held_of(b"".join(content for (content,) in self._connection.binary(query)))

    def count(self) -> int:
        """How many rows there are."""
        return int(self._connection.one(written("SELECT count(*) FROM {table}", table=self.name))[0])

    def fetch(self, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        """Some rows, ascending, as a batch of the schema."""
        columns = [
            written("{name}::{kind}", name=sql.Identifier(name), kind=written(kind))
            for name, kind, _ in columns_of(shape, _vector(self._connection))
        ]
        query = written(
            "SELECT {columns} FROM {table} WHERE row = ANY(%s) ORDER BY row",
            columns=sql.SQL(", ").join(columns),
            table=self.name,
        )
        return batch_of(self._connection.binary(query, [np.asarray(rows, np.int64).tolist()]), shape)

    def analyze(self) -> None:
        """So that the first readers find statistics."""
        self._execute("ANALYZE {table}")

    def _execute(self, query: str, **parts: sql.Composable) -> None:
        self._connection.execute(written(query, table=self.name, **parts))


def _columns(names: Sequence[str], of: str | None = None) -> sql.Composed:
    table = [] if of is None else [of]
    return sql.SQL(", ").join(sql.Identifier(*table, column_of(name)) for name in names)


def _vector(connection: Connection) -> str:
    """pgvector's type, wherever it is installed in the database; it is installed where it is not and may be."""
    if not (found := connection.rows(_EXTENSION)):
        try:
            with connection.transaction():
                connection.execute(
                    written("CREATE EXTENSION vector SCHEMA {schema}", schema=sql.Identifier(connection.schema))
                )
        except DeliveryRefused as error:
            words = said(error.__cause__) if isinstance(error.__cause__, psycopg.Error) else error
            raise DeliveryRefused(
                f"Expected the extension `vector` (pgvector) in the database {connection.database}. It is not there, "
                f"and cannot be made. {words} Have an administrator install pgvector on the server, and run "
                "CREATE EXTENSION vector in that database."
            ) from error
        found = connection.rows(_EXTENSION)
    return sql.Identifier(found[0][0], "vector").as_string()

"""A database of a PostgreSQL server, as people who use deliveries have it: read by psycopg, described by pg_dump."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.rows import dict_row

from tests.support.delivery_engine import EXTRA, Engine, Failure, Spoilt
from tests.support.engines import PASSWORD, Postgres

WRONG = "hunter3"
FULL = 4 << 20


class Database(Engine):
    """One database of a server that many tests use; libpq finds the password in its own variable."""

    failures = ("down", "slow", "full", "read-only", "wrong password")
    secrets = (PASSWORD, WRONG)

    def __init__(self, server: Postgres, monkeypatch: pytest.MonkeyPatch, *, extension: bool = True) -> None:
        self.server, self.name, self._monkeypatch = server, server.database(extension=extension), monkeypatch
        self.to = server.url(self.name, password=None)
        monkeypatch.setenv("PGPASSWORD", PASSWORD)

    def connect(self, role: str = "app") -> psycopg.Connection[dict[str, Any]]:
        """A connection for itself, as that role."""
        return psycopg.connect(self.server.url(self.name, role), row_factory=dict_row)

    def run(self, query: str, *values: Any, role: str = "app") -> list[dict[str, Any]]:
        """Carry statements out, and give the rows of the last."""
        with self.connect(role) as connection:
            if connection.execute("SELECT to_regtype('vector') AS kind").fetchone() != {"kind": None}:
                register_vector(connection)
            cursor = connection.execute(sql.SQL(query), values or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def described(self, name: str) -> str:
        """All that the database has but rows, by PostgreSQL's own word; the key of the table's generation left out."""
        command = [self.server.programs / "pg_dump", "--schema-only", self.server.url(self.name, "postgres")]
        told = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout
        lines = [line for line in told.splitlines() if line and not line.startswith(("--", "\\"))]
        return re.sub(rf"\b{name}__[0-9a-f]{{8}}_pkey\b", f"{name}_pkey", "\n".join(lines))

    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        try:
            found = self.run(f"SELECT * FROM {name}")
        except psycopg.errors.UndefinedTable:
            return None
        return {row["row"]: row | {"vector": row["vector"].to_list()} for row in found}

    def leftovers(self, name: str) -> list[str]:
        mine = f"^{name}__[0-9a-f]{{8}}$"
        tables = self.run("SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relname ~ %s", mine)
        records = self.run("SELECT key FROM pixelmill_deliveries WHERE name = %s AND NOT served", name)
        return [line for found in (*tables, *records) for line in found.values()]

    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        if what == "missing":
            self.run(f"DELETE FROM {name} WHERE row = {row}")
        elif what == "extra":
            self.run(
                f"CREATE TEMPORARY TABLE extra AS SELECT * FROM {name} WHERE row = {row};"
                f"UPDATE extra SET row = {EXTRA}; INSERT INTO {name} SELECT * FROM extra"
            )
        elif what == "vector":
            more = "array_fill(0.5, ARRAY[vector_dims(vector)])::vector"
            self.run(f"UPDATE {name} SET vector = vector + {more} WHERE row = {row}")
        else:
            self.run(f"UPDATE {name} SET path = path || 'x' WHERE row = {row}")

    def foreign_table(self, name: str, dim: int) -> None:
        self.run(f"CREATE TABLE {name} (row bigint PRIMARY KEY, vector vector({dim}))")
        self.run(f"INSERT INTO {name} VALUES (1, array_fill(0.5, ARRAY[{dim}])::vector)")

    def foreign_table_is_whole(self, name: str) -> bool:
        (row,) = self.run(f"SELECT * FROM {name}")
        return bool(row["row"] == 1 and set(row["vector"].to_list()) == {0.5})

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        failures = {
            "down": self.server.down, "slow": self.server.paused, "full": lambda: self.server.full(FULL),
            "read-only": self._read_only, "wrong password": self._locked_out,
        }  # fmt: skip
        with failures[how]():
            yield

    @contextmanager
    def _read_only(self) -> Iterator[None]:
        setting = f"ALTER DATABASE {self.name} SET default_transaction_read_only"
        self.run(f"{setting} = on")
        yield
        with self.connect() as connection:
            connection.execute(sql.SQL(f"SET TRANSACTION READ WRITE; {setting} = off"))

    @contextmanager
    def _locked_out(self) -> Iterator[None]:
        with self._monkeypatch.context() as patch:
            patch.setenv("PIXELMILL_PASSWORD_VECTORS", WRONG)
            yield

    def drop(self) -> None:
        """Leave nothing of it."""
        with psycopg.connect(self.server.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

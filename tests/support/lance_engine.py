"""LanceDB in a folder and on S3, by its own client, for the tests of deliveries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import lancedb
import pyarrow as pa

from tests.support.delivery_engine import EXTRA, Engine, Failure, Spoilt
from tests.support.failing import away, full, locked, read_only, silent
from tests.support.s3 import S3


class LanceEngine(Engine):
    """Tables at a place."""

    spoils: ClassVar[tuple[Spoilt, ...]] = ("missing", "extra", "vector", "column", "again")

    def __init__(self, place: str, options: dict[str, str] | None = None) -> None:
        self.place, self.to = place, f"lancedb:{place}"
        self._options = options

    def database(self) -> lancedb.DBConnection:
        return lancedb.connect(self.place, storage_options=self._options)

    def table(self, name: str) -> Any:
        return self.database().open_table(name)

    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        if name not in self.names():
            return None
        found = self.table(name).to_arrow().to_pylist()
        rows = {row["row"]: {field: value for field, value in row.items() if field != "row"} for row in found}
        assert len(rows) == len(found), "a row is there more than once"
        return rows

    def names(self) -> list[str]:
        """The tables that are there, also those of which only a part is."""
        return list(self.database().list_tables(limit=1000).tables)

    def leftovers(self, name: str) -> list[str]:
        return [table for table in self.names() if re.fullmatch(rf"{name}__[0-9a-f]{{8}}", table)]

    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        table = self.table(name)
        there = table.search().where(f"row = {row}").to_arrow()
        if what == "missing":
            table.delete(f"row = {row}")
        elif what == "again":
            table.add(there)
        elif what == "extra":
            table.add(there.set_column(0, there.schema.field(0), pa.array([EXTRA])))
        elif what == "vector":
            table.update(where=f"row = {row}", values={"vector": [value + 1 for value in there["vector"][0].as_py()]})
        else:
            table.update(where=f"row = {row}", values={"path": "somewhere else"})

    def foreign_table(self, name: str, dim: int) -> None:
        self.database().create_table(name, data=[{"vector": [0.5] * dim, "words": "not ours"}])

    def foreign_table_is_whole(self, name: str) -> bool:
        return bool([row["words"] for row in self.table(name).to_arrow().to_pylist()] == ["not ours"])


class LanceFolder(LanceEngine):
    """On disk."""

    failures: ClassVar[tuple[Failure, ...]] = ("full", "read-only")

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        with full() if how == "full" else read_only(Path(self.place)):  # LanceDB writes from this process
            yield


class LanceBucket(LanceEngine):
    """On a server that speaks S3, which other tests use as well."""

    failures: ClassVar[tuple[Failure, ...]] = ("down", "slow", "wrong password")
    secrets: ClassVar[tuple[str, ...]] = ("hunter2",)

    def __init__(self, server: S3, bucket: str) -> None:
        self.server = server
        super().__init__(f"s3://{bucket}/lance", {"allow_http": "true"})

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        with away() if how == "down" else silent(self.server) if how == "slow" else locked(self.server):
            yield

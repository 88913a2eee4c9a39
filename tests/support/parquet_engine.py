"""Parquet files on disk and on S3, read by DuckDB and Polars as others would, for the tests of deliveries."""

from __future__ import annotations

import io
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import boto3
import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

from pixelmill.deliver import base
from tests.support.delivery_engine import EXTRA, Engine, Failure, Spoilt
from tests.support.failing import away, full, locked, read_only, silent
from tests.support.s3 import S3, forget_connections


class ParquetEngine(Engine):
    """Files at a place."""

    spoils: ClassVar[tuple[Spoilt, ...]] = ("missing", "extra", "vector", "column", "again")

    def __init__(self, place: str) -> None:
        self.place, self.to = place, f"parquet:{place}"

    @abstractmethod
    def names(self) -> list[str]:
        """The files that are there, as `vectors/current.json`."""

    @abstractmethod
    def get(self, name: str) -> bytes:
        """The bytes of a file."""

    @abstractmethod
    def put(self, name: str, content: bytes) -> None:
        """Write a file."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file."""

    @abstractmethod
    def read(self, files: str) -> list[dict[str, Any]]:
        """The rows of the files that fit a pattern."""

    def current(self, name: str) -> dict[str, str] | None:
        """What readers are told of a delivery."""
        told = f"{name}/current.json"
        return json.loads(self.get(told)) if told in self.names() else None

    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        if (current := self.current(name)) is None:
            return None
        found = self.read(current["files"])
        rows = {row["row"]: row for row in found}
        assert len(rows) == len(found), "a row is there more than once"
        return rows

    def leftovers(self, name: str) -> list[str]:
        current = self.current(name) or {}
        needed = ("current.json", *(current[key] for key in ("generation", "before") if key in current))
        there = {part[1] for part in (found.split("/") for found in self.names()) if part[0] == name}
        return sorted(there.difference(needed))

    def file(self, name: str, row: int) -> str:
        """The name of the file of a row."""
        current = self.current(name)
        assert current
        return f"{name}/{current['generation']}/rows-{row // base.BLOCK:07d}.parquet"

    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        file = self.file(name, row)
        table = pq.read_table(pa.BufferReader(self.get(file)))
        rows = table.to_pylist()
        (spoilt,) = [found for found in rows if found["row"] == row]
        if what == "missing":
            rows.remove(spoilt)
        elif what == "vector":
            spoilt["vector"][0] += 1
        elif what == "column":
            spoilt["path"] += "x"
        elif what == "again":
            rows.append(spoilt)
        else:
            file, rows = self.file(name, EXTRA), [spoilt | {"row": EXTRA}]
        self.put(file, _parquet(pa.Table.from_pylist(rows, table.schema)))

    def foreign_table(self, name: str, dim: int) -> None:
        self.put(f"{name}/rows-0000000.parquet", _parquet(pa.table({"row": [1], "vector": [[0.5] * dim]})))

    def foreign_table_is_whole(self, name: str) -> bool:
        (file,) = [found for found in self.names() if found.startswith(f"{name}/")]
        return bool(pq.read_table(pa.BufferReader(self.get(file))).column("vector").to_pylist()[0][0] == 0.5)


class Folder(ParquetEngine):
    """Files in a folder of this machine, read by DuckDB."""

    failures: ClassVar[tuple[Failure, ...]] = ("full", "read-only")

    def names(self) -> list[str]:
        folder = Path(self.place)
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def get(self, name: str) -> bytes:
        return (Path(self.place) / name).read_bytes()

    def put(self, name: str, content: bytes) -> None:
        path = Path(self.place) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name: str) -> None:
        (Path(self.place) / name).unlink()

    def read(self, files: str) -> list[dict[str, Any]]:
        with duckdb.connect() as connection:
            return _as_lists(connection.sql(f"SELECT * FROM read_parquet('{files}')").to_arrow_table().to_pylist())

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        with full() if how == "full" else read_only(Path(self.place)):
            yield


class Bucket(ParquetEngine):
    """Objects of a server that speaks S3, which other tests use as well, read by Polars."""

    failures: ClassVar[tuple[Failure, ...]] = ("down", "slow", "wrong password")
    secrets: ClassVar[tuple[str, ...]] = ("hunter2",)

    def __init__(self, server: S3, bucket: str) -> None:
        self.server, self.bucket = server, bucket
        self._s3: Any = boto3.client("s3")
        self._s3.create_bucket(Bucket=bucket)
        super().__init__(f"s3://{bucket}/delivered")

    def names(self) -> list[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="delivered/")
        return [found["Key"].partition("/")[2] for page in pages for found in page.get("Contents", ())]

    def get(self, name: str) -> bytes:
        return bytes(self._s3.get_object(Bucket=self.bucket, Key=f"delivered/{name}")["Body"].read())

    def put(self, name: str, content: bytes) -> None:
        self._s3.put_object(Bucket=self.bucket, Key=f"delivered/{name}", Body=content)

    def remove(self, name: str) -> None:
        self._s3.delete_object(Bucket=self.bucket, Key=f"delivered/{name}")

    def read(self, files: str) -> list[dict[str, Any]]:
        return _as_lists(polars.scan_parquet(files).collect().to_dicts())

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        with away() if how == "down" else silent(self.server) if how == "slow" else locked(self.server):
            forget_connections()
            yield
        forget_connections()


def _as_lists(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"vector": list(row["vector"])} for row in rows]


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()

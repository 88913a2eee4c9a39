"""What a database keeps of the deliveries to it: a row a generation in the table `pixelmill_deliveries`, and which of
the tables beside that are theirs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from pydantic import ValidationError

from pixelmill.deliver import base
from pixelmill.deliver.generation import Generation
from pixelmill.deliver.postgresql.connection import Connection, written
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.watch.clocks import LOOK
from pixelmill.watch.saying import saying

RECORDS: Final = "pixelmill_deliveries"
_MARK: Final = "pixelmill_deliveries__key"
_THERE: Final = """
SELECT c.relname, c.oid, k.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary LEFT JOIN pg_class k ON k.oid = i.indexrelid
WHERE n.nspname = %s AND (c.relname IN (%s, %s) OR starts_with(c.relname, %s))
"""
_MAKE: Final = """
CREATE TABLE IF NOT EXISTS {records} (
    name text NOT NULL, key text NOT NULL, served boolean NOT NULL, version bigint NOT NULL, known text NOT NULL,
    CONSTRAINT {mark} PRIMARY KEY (name, key)
)
"""
_READ: Final = "SELECT key, served, version, known FROM {records} WHERE name = %s ORDER BY key"
_ADD: Final = "INSERT INTO {records} VALUES (%s, %s, false, 0, %s)"
_KEEP: Final = """
UPDATE {records} SET known = %s, served = %s, version = version + 1 WHERE name = %s AND key = %s AND version = %s
"""
_DROP: Final = "DELETE FROM {records} WHERE name = %s AND key = %s"


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a generation; `oid` is that of its table, None if that is gone. `version` counts the changes."""

    generation: Generation
    version: int
    table: str
    oid: int | None


class Records:
    """Of the delivery `name`, in the schema of a connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name, self._schema = connection, name, connection.schema
        self._versions: dict[str, int] | None = None
        self._is_claimed = False

    def read(self) -> list[Record]:
        """What is on record of the delivery. Raises DeliveryRefused for a table under one of the names that none
        made."""
        there = self._there()
        if RECORDS not in there:
            records = []
        elif there[RECORDS][1] != _MARK:
            raise self._taken(RECORDS)
        else:
            records = [self._record(row, there) for row in self._connection.rows(self._query(_READ), [self._name])]
        if self._name in there and not any(one.oid and one.table == self._name for one in records):
            raise self._taken(self._name)
        return records

    def generations(self) -> list[Generation]:
        """What there is of the delivery, and is remembered: `claim` raises if it has changed by then."""
        records = self.read()
        self._versions = _versions(records)
        return [record.generation for record in records if record.oid]

    def of(self, key: str) -> Record:
        """Raises TargetUnavailable for a generation that is gone."""
        record = next((one for one in self.read() if one.generation.key == key), None)
        if record is None or record.oid is None:
            raise self._gone()
        return record

    def claim(self) -> None:
        """Be the only delivery of that name until the connection is closed, before anything is changed."""
        if self._is_claimed:
            return
        if not self._connection.is_pooled:  # there the session that holds a lock may be anybody's next time
            self._wait()
        if self._versions is not None and self._versions != _versions(self.read()):
            raise self._gone()
        self._is_claimed = True

    def _wait(self) -> None:
        content = f"{RECORDS}\0{self._schema}\0{self._name}".encode()
        key = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
        end = time.monotonic() + base.SECONDS
        with saying(f"Claiming {self._name}"):
            while not self._connection.one("SELECT pg_try_advisory_lock(%s)", [key])[0]:
                if time.monotonic() > end:
                    raise TargetUnavailable(
                        f"Expected to be the only delivery of {self._name!r}. Another one, as of a copy of the store, "
                        "is at work there: wait for it, or give one of them another name."
                    )
                time.sleep(LOOK)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A transaction that changes tables of the delivery, with what is on record of them, or nothing."""
        self.claim()
        before = None if self._versions is None else dict(self._versions)
        try:
            with self._connection.transaction():
                yield
        except BaseException:
            self._versions = before
            raise

    def make(self) -> None:
        """Make the table of records, where there is none."""
        lock = "SELECT pg_advisory_xact_lock(hashtext(%s))"  # two that make it at once would get in each other's way
        self._connection.execute(lock, [RECORDS])
        self._connection.execute(self._query(_MAKE))

    def add(self, generation: Generation) -> None:
        """Put a new generation on record, and take off what is gone."""
        for record in self.read():
            if record.oid is None:
                self.drop(record.generation.key)
        known = generation.model_dump_json()
        self._connection.execute(self._query(_ADD), [self._name, generation.key, known])
        self._remember(generation.key, 0)

    def keep(self, generation: Generation, record: Record, *, served: bool) -> None:
        """Keep what is known of a generation that is on record so. Raises TargetUnavailable where it is no more."""
        version = (self._versions or {}).get(generation.key, record.version)
        values = [generation.model_dump_json(), served, self._name, generation.key, version]
        if self._connection.execute(self._query(_KEEP), values).rowcount != 1:
            raise self._gone()
        self._remember(generation.key, version + 1)

    def serve(self, generation: Generation, record: Record) -> None:
        """Keep that this one is served now, and no other."""
        self.keep(generation, record, served=True)
        for other in self.read():
            if other.generation.served and other.generation.key != generation.key:
                self.drop(other.generation.key)

    def drop(self, key: str) -> None:
        """Take a generation off the record."""
        self._connection.execute(self._query(_DROP), [self._name, key])
        if self._versions is not None:
            self._versions.pop(key, None)

    def _remember(self, key: str, version: int) -> None:
        if self._versions is not None:
            self._versions[key] = version

    def _record(self, row: Sequence[Any], there: dict[str, Any]) -> Record:
        key, served, version, known = row
        try:
            generation = Generation.model_validate_json(known).model_copy(update={"served": served})
        except ValidationError as error:
            raise DeliveryRefused(
                f"Expected what is known of {self._name} in {self._schema}.{RECORDS} to be of this version of "
                "Pixelmill. It is of a later one, or was changed: deliver with that version, or drop the table and its "
                "rows there."
            ) from error
        table = self._name if served else f"{self._name}__{key}"
        oid, mark = there.get(table, (None, None))
        return Record(generation, version, table, oid if mark == mark_of(self._name, key) else None)

    def _there(self) -> dict[str, tuple[int, str | None]]:
        """Oids of what has one of the delivery's names, and the names of their primary keys."""
        names = [self._schema, RECORDS, self._name, f"{self._name}__"]
        return {name: (oid, mark) for name, oid, mark in self._connection.rows(_THERE, names)}

    def _query(self, query: str) -> sql.Composed:
        return written(query, records=sql.Identifier(self._schema, RECORDS), mark=sql.Identifier(_MARK))

    def _gone(self) -> TargetUnavailable:
        return TargetUnavailable(
            f"Expected to be the only delivery of {self._name!r}. Another one has changed it meanwhile, as of a copy "
            "of the store: the next one looks again."
        )

    def _taken(self, name: str) -> DeliveryRefused:
        return DeliveryRefused(
            f"Expected {self._schema}.{name} in {self._connection.shown} to be free, or of a delivery. There is one "
            "that none made. Nothing of it was touched: give the delivery another name, or its address another schema, "
            "as ?options=-csearch_path%3Dvectors."
        )


def mark_of(name: str, key: str) -> str:
    """The name of the primary key of a delivery's table."""
    return f"{name}__{key}_pkey"


def _versions(records: list[Record]) -> dict[str, int]:
    return {record.generation.key: record.version for record in records}

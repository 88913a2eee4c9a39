"""Tables of PostgreSQL with pgvector: one a generation, and one that tells what is known of them.

    <schema>.<name>               the rows that readers see
    <schema>.<name>__<key>        another generation, until it takes that name
    <schema>.pixelmill_deliveries

A table is known for a delivery's by the name of its primary key, `<name>__<key>_pkey`, which it keeps for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from psycopg import sql

from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.delivery import OWN, Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.postgresql.connection import Connection, written
from pixelmill.deliver.postgresql.records import RECORDS, Record, Records, mark_of
from pixelmill.deliver.postgresql.rows import column_of
from pixelmill.deliver.postgresql.switch import Switch
from pixelmill.deliver.postgresql.table import Table
from pixelmill.errors import DeliveryRefused

if TYPE_CHECKING:
    import pyarrow as pa


class PostgresqlTarget(Target):
    """Tables of one delivery; see the module."""

    has_transactions: ClassVar[bool] = True

    def __init__(self, delivery: Delivery) -> None:
        self._name = delivery.name
        if self._name == RECORDS:
            raise DeliveryRefused(f"Expected a delivery of another name. {RECORDS} is where all are kept on record.")
        self._connection = Connection(delivery)
        self._records = Records(self._connection, delivery.name)

    def generations(self) -> list[Generation]:
        return self._records.generations()

    def begin(self, generation: Generation, shape: Shape) -> None:
        with self._records.changing():
            self._records.make()
            self._table(self._aside(generation.key)).make(shape, mark_of(self._name, generation.key))
            self._records.add(generation)
            if (switch := self._switch(self._records.of(generation.key))) is not None:
                switch.rehearse()

    def held(self, key: str, start: int, stop: int | None) -> Held:
        with self._connection.transaction():
            return self._table(self._records.of(key).table).held(start, stop)

    def count(self, key: str) -> int:
        with self._connection.transaction():
            return self._table(self._records.of(key).table).count()

    def write(self, generation: Generation, changes: Changes) -> None:
        with self._records.changing():
            record = self._records.of(generation.key)
            self._records.keep(generation, record, served=record.generation.served)
            self._table(record.table).change(changes)

    def keep(self, generation: Generation) -> None:
        with self._records.changing():
            record = self._records.of(generation.key)
            self._records.keep(generation, record, served=record.generation.served)

    def serve(self, generation: Generation, shape: Shape) -> None:
        self._records.claim()
        record = self._records.of(generation.key)
        if record.generation.served:
            self.keep(generation)
            return
        switch = self._switch(record)
        if switch is not None:
            switch.prepare()
        self._table(record.table).analyze()
        if switch is not None:
            switch.make(self._records.changing, lambda: self._records.serve(generation, record))
            return
        with self._records.changing():
            new, name = self._table(record.table).name, sql.Identifier(self._name)
            self._connection.execute(written("ALTER TABLE {new} RENAME TO {name}", new=new, name=name))
            self._records.serve(generation, record)

    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        with self._connection.transaction():
            return self._table(self._records.of(key).table).fetch(rows, shape)

    def drop(self, key: str) -> None:
        with self._records.changing():
            self._connection.execute(written("DROP TABLE IF EXISTS {table}", table=self._table(self._aside(key)).name))
            self._records.drop(key)

    def close(self) -> None:
        self._connection.close()

    def _switch(self, record: Record) -> Switch | None:
        """From the table that is served to that of `record`; None where none is served."""
        old = next((one for one in self._records.read() if one.generation.served and one.oid), None)
        if old is None:
            return None
        kept = [*OWN, *(field.name for field in old.generation.definition.columns)]
        return Switch(
            self._connection, old.oid, record.oid, aside=self._aside(old.generation.key), kept=map(column_of, kept)
        )

    def _aside(self, key: str) -> str:
        return f"{self._name}__{key}"

    def _table(self, name: str) -> Table:
        return Table(self._connection, name)

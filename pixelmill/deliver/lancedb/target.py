"""LanceDB tables in a folder or in an object store.

    PLACE/<name>.lance          what readers see
    PLACE/<name>__<key>.lance   a generation that is filled beside it

Each change is a version of a table, and there at once. What is known of a generation stands in its table, beside the
column `row`, with the version that it is true of: after changes by others, or of a table that was taken back to an
older version, nothing is taken for right that is not. The first generation gets the name of the delivery; another is
copied over the one before it as one more version, so that who has that open goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.lancedb.ahead import NOTHING
from pixelmill.deliver.lancedb.database import DISTURBED, LanceDatabase
from pixelmill.deliver.lancedb.indexes import LanceIndex
from pixelmill.deliver.lancedb.table import Kept, LanceTable, among, schema_of
from pixelmill.deliver.lancedb.upkeep import (
    EVERY,
    OLD_VERSIONS,
    indexes_of,
    look_after,
    make_indexes,
    remove_old_versions,
)
from pixelmill.errors import DeliveryRefused, TargetUnavailable


class LanceTarget(Target):
    """Tables of one delivery; see the module."""

    def __init__(self, delivery: Delivery) -> None:
        self._name, self._database = delivery.name, LanceDatabase(delivery.to)
        self._tables: dict[str, LanceTable] = {}
        self._served: str | None = None
        self._is_looked_at = False
        self._litter: list[str] = []

    def generations(self) -> list[Generation]:
        self._tables, self._litter, self._served, self._is_looked_at = {}, [], None, True
        if not self._database.is_there:
            return []
        with self._database.in_words():
            served = self._opened(self._name)
            self._served = served.key if served else None
            return [self._known(table) for table in (served, *self._begun()) if table]

    def begin(self, generation: Generation, shape: Shape) -> None:
        with self._database.in_words():
            self._sweep()
            schema = schema_of(shape, Kept(generation=generation, tidy_at=datetime.now(UTC) + EVERY))
            self._database.create(self._table_name(generation.key), schema)

    def held(self, key: str, start: int, stop: int | None) -> Held:
        with self._database.in_words():
            table = self._latest(key)
            if table.name != self._name and start > table.highest():  # one that is filled does not have the next block
                return NOTHING
            return table.held(start, stop)

    def count(self, key: str) -> int:
        with self._database.in_words():
            return self._database.run(self._latest(key).handle.count_rows())

    def write(self, generation: Generation, changes: Changes) -> None:
        with self._database.in_words():
            table = self._claimed(generation.key)
            if changes.batch.num_rows:
                is_behind = table.name != self._name and changes.batch.column("row")[0].as_py() > table.highest()
                (table.append if is_behind else table.put)(changes.batch)
            if len(changes.gone):
                table.remove(changes.gone)
            table.note(generation=generation)

    def keep(self, generation: Generation) -> None:
        with self._database.in_words():
            table = self._claimed(generation.key)
            if generation.served and all(generation.marks):
                self._sweep()
                look_after(table)
            table.note(generation=generation)

    def serve(self, generation: Generation, shape: Shape) -> None:
        with self._database.in_words():
            begun, now = self._claimed(generation.key), self._opened(self._name)
            if (now.key if now else None) != self._served:
                raise TargetUnavailable(f"Expected {self._name!r} as it was when this delivery began. {DISTURBED}.")
            if now is None and self._database.can_rename(self._name):
                make_indexes(begun)
                begun.note(generation=generation)
                self._database.rename(begun.name, self._name)
            else:
                self._copy(begun, now, generation, shape)
                self._database.drop(begun.name)
            self._tables, self._served = {}, generation.key

    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        schema = shape.schema
        if not len(rows):
            return pa.RecordBatch.from_pylist([], schema)
        with self._database.in_words():
            found = self._latest(key).read(schema.names, among(np.asarray(rows, np.int64)))
        columns = [found.column(field.name).combine_chunks().cast(field.type) for field in schema]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def drop(self, key: str) -> None:
        with self._database.in_words():
            table = self._opened(name := self._table_name(key))
            if table:  # should only a part of it go, nobody takes the rest for a generation
                table.note(dropped=True)
            self._database.drop(name)
            self._tables.pop(name, None)

    def erase_replaced(self) -> None:
        self.generations()
        with self._database.in_words():
            self._sweep()
            if self._served:
                remove_old_versions(self._of(self._served))

    def close(self) -> None:
        self._database.close()

    def _table_name(self, key: str) -> str:
        return f"{self._name}__{key}"

    def _opened(self, name: str) -> LanceTable | None:
        table = LanceTable.opened(self._database, name, self._name)
        if table:
            self._tables[name] = table
        return table

    def _begun(self) -> Iterator[LanceTable]:
        """Generations beside the one that readers see. What was given up, or is served by now, is noted as litter, also
        where only a part of it is there."""
        for name in self._database.names(self._name):
            if not re.fullmatch(rf"{self._name}__[0-9a-f]{{8}}", name):
                continue
            try:
                table = self._opened(name)
            except DeliveryRefused:  # somebody else's, who calls it so
                continue
            if table and not table.kept.dropped and table.key != self._served:
                yield table
            else:
                self._litter.append(name)

    def _sweep(self) -> None:
        while self._litter:
            self._database.drop(self._litter.pop())

    def _known(self, table: LanceTable) -> Generation:
        known, is_served = table.kept.generation, table.name == self._name
        is_other = is_served and table.kept.version != table.version
        return known.model_copy(update={"served": is_served, "marks": () if is_other else known.marks})

    def _latest(self, key: str) -> LanceTable:
        """The table of a generation, at its last version."""
        table = self._of(key)
        table.go_on()
        return table

    def _claimed(self, key: str) -> LanceTable:
        """The same, if it is as this delivery left it."""
        table = self._of(key)
        table.claim()
        return table

    def _of(self, key: str) -> LanceTable:
        if not self._is_looked_at:
            self.generations()
        name = self._name if key == self._served else self._table_name(key)
        table = self._tables.get(name) or self._opened(name)
        if table is None:
            raise TargetUnavailable(f"Expected the table {name!r}. It is not there any more. {DISTURBED}.")
        return table

    def _copy(self, begun: LanceTable, now: LanceTable | None, generation: Generation, shape: Shape) -> None:
        """Let readers see the rows of a table as one more version of theirs, with the indexes that theirs has."""
        kept = Kept(generation=generation, tidy_at=datetime.now(UTC) + EVERY)
        if now is not None:
            indexes: tuple[LanceIndex, ...] = (*indexes_of(now), *now.kept.indexes)
            update = {"version": now.version + 1, "indexes": indexes, "tidy_at": datetime.now(UTC) + OLD_VERSIONS}
            kept = kept.model_copy(update=update)
        schema = schema_of(shape, kept)
        batches = (pa.RecordBatch.from_arrays(one.columns, schema=schema) for one in begun.batches(schema.names))
        self._database.create(self._name, schema, batches, is_new=now is None)
        if (served := self._opened(self._name)) is not None:
            make_indexes(served)
            served.note()

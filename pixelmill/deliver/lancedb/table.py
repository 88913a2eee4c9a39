"""A LanceDB table of a delivery: rows written, one version a change, and beside them what is known of them."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from pixelmill.deliver import base
from pixelmill.deliver.base import Held, Rows
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.lancedb.ahead import Ahead
from pixelmill.deliver.lancedb.database import DISTURBED, LanceDatabase
from pixelmill.deliver.lancedb.indexes import LanceIndex
from pixelmill.errors import DeliveryRefused, TargetUnavailable

if TYPE_CHECKING:
    from lancedb.table import AsyncTable

ROW: Final = "row"
KNOWN: Final = "pixelmill"
"""Under which metadata of the column `row` stands what is known."""
_KEY: Final = {"lance-schema:unenforced-primary-key:position": "1"}
"""Two who add the same row at once get one row, and not two."""


class Kept(BaseModel):
    """What stands in a table: the generation, as of a `version` of the table, and whether it is given up; the indexes
    that it is to have and has not yet; when it is tidied at the latest."""

    generation: Generation
    version: int = 1
    dropped: bool = False
    indexes: tuple[LanceIndex, ...] = ()
    tidy_at: datetime


class LanceTable:
    """An open table. `version` is the one that this delivery left it in, as far as it is known; `is_changed` whether
    rows were written. Raises what LanceDB raises, and TargetUnavailable where something else changes the table."""

    def __init__(self, database: LanceDatabase, name: str, handle: AsyncTable, kept: Kept) -> None:
        self.database, self.name, self.handle, self.kept = database, name, handle, kept
        self.version = self._seen = database.run(handle.version())
        self.is_changed = False
        self._highest: int | None = None
        self._ahead = Ahead()

    @classmethod
    def opened(cls, database: LanceDatabase, name: str, delivery: str) -> LanceTable | None:
        """A table of a delivery; None if there is none, or not all of one. Raises DeliveryRefused for another."""
        handle = database.table(name)
        if handle is None:
            return None
        schema = database.run(handle.schema())
        kept = _kept_of(schema, name)
        if kept is None or kept.generation.definition.delivery != delivery:
            raise DeliveryRefused(
                f"Expected {name!r} in {database.shown} to be free, or of this delivery. There is a table that it did "
                "not make. Nothing of it was touched: give the delivery another name, or remove the table."
            )
        definition = kept.generation.definition
        if (found := _types(schema)) != (wanted := _types(Shape(definition.dim, definition.columns).schema)):
            raise DeliveryRefused(
                f"Expected the columns {wanted} in the table {name!r}. Got {found}. Give it its own columns, or remove "
                "it: the next delivery makes it anew."
            )
        return cls(database, name, handle, kept)

    @property
    def key(self) -> str:
        return self.kept.generation.key

    @property
    def dim(self) -> int:
        return self.kept.generation.definition.dim

    @property
    def columns(self) -> list[str]:
        definition = self.kept.generation.definition
        return list(Shape(definition.dim, definition.columns).schema.names)

    def go_on(self) -> None:
        """Look at the last version."""
        seen = self.database.run(_last_version(self.handle))
        if seen != self._seen:
            self._seen, self._highest = seen, None
            self._ahead.forget()

    def claim(self) -> None:
        """Make sure that the last version is the one that this delivery left."""
        self.go_on()
        if self._seen != self.version:
            raise self._disturbed()

    def settle(self) -> None:
        """Take the version that it is in for the one that this delivery left."""
        self.version = self._seen = self.database.run(self.handle.version())

    def note(self, **update: object) -> None:
        """Keep what is known of the table in it."""
        kept = self.kept.model_copy(update={**update, "version": self.version + 1})
        told = {"path": ROW, "metadata": {KNOWN: kept.model_dump_json()}}
        self._commit(self.handle.update_field_metadata(told))
        self.kept = kept

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows that are not there."""
        self._commit(self.handle.add(_as_table(batch)), batch.nbytes)
        self._wrote(batch.column(ROW).to_numpy())

    def put(self, batch: pa.RecordBatch) -> None:
        """Write rows in place of those of the same numbers, if there are any."""
        merge = self.handle.merge_insert(ROW).when_matched_update_all().when_not_matched_insert_all()
        result = self._commit(merge.execute(_as_table(batch)), batch.nbytes)
        self._wrote(batch.column(ROW).to_numpy())
        if result.num_rows != batch.num_rows:  # what is there twice is written twice
            self.remove(batch.column(ROW).to_numpy())
            self.append(batch)

    def remove(self, rows: Rows) -> None:
        """Delete rows, if they are there."""
        self._commit(self.handle.delete(among(rows)))
        self._wrote(rows)

    def held(self, start: int, stop: int | None) -> Held:
        """The rows from `start` to before `stop`, or all behind, and their digests."""
        return self._read_held(start, None) if stop is None else self._ahead.held(start, stop, self._read_held)

    def highest(self) -> int:
        """The highest row; -1 if there is none."""
        if self._highest is None:
            found = (pc.max(batch.column(ROW)).as_py() for batch in self.batches([ROW]) if len(batch))
            self._highest = max(found, default=-1)
        return self._highest

    def read(self, columns: Sequence[str], condition: str) -> pa.Table:
        """Columns of the rows that fulfil a condition: those of a block, or few columns."""
        query = self.handle.query().where(condition).select(list(columns))
        return self.database.run(query.to_arrow(), size=base.BLOCK * 4 * self.dim)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of all rows."""
        reader = self.database.run(self.handle.query().select(list(columns)).to_batches())
        while True:
            try:
                yield self.database.run(reader.__anext__(), size=None)
            except StopAsyncIteration:
                return

    def _read_held(self, start: int, stop: int | None) -> Held:
        found = self.read([ROW, "digest"], f"{ROW} >= {start}" + ("" if stop is None else f" AND {ROW} < {stop}"))
        return Held(found.column(ROW).to_numpy(), found.column("digest").to_numpy())

    def _commit(self, work: Coroutine[Any, Any, Any], size: int = 0) -> Any:
        """Make one change: one more version, or none where it changes nothing."""
        self.is_changed = True
        result = self.database.run(work, size=size)
        if not self.version <= result.version <= self.version + 1:
            raise self._disturbed()
        self.version = self._seen = result.version
        return result

    def _wrote(self, rows: Rows) -> None:
        self._ahead.wrote(rows)
        if self._highest is not None:
            self._highest = max(self._highest, int(rows.max()))

    def _disturbed(self) -> TargetUnavailable:
        return TargetUnavailable(f"Expected to be alone with the table {self.name!r}. {DISTURBED}.")


async def _last_version(handle: AsyncTable) -> int:
    await handle.checkout_latest()  # type: ignore[no-untyped-call]
    return await handle.version()


def schema_of(shape: Shape, kept: Kept) -> pa.Schema:
    """How a table looks in which this stands."""
    schema = shape.schema
    told = {**_KEY, KNOWN: kept.model_dump_json()}
    return schema.set(schema.get_field_index(ROW), schema.field(ROW).with_metadata(told))


def among(rows: Rows) -> str:
    """The condition that a row is one of these."""
    return f"{ROW} IN ({', '.join(map(str, rows.tolist()))})"


def _kept_of(schema: pa.Schema, name: str) -> Kept | None:
    told = (schema.field(ROW).metadata or {}).get(KNOWN.encode()) if ROW in schema.names else None
    try:
        return None if told is None else Kept.model_validate_json(told)
    except ValidationError as error:
        raise DeliveryRefused(
            f"Expected to understand what is known of the table {name!r}. It is of another version of Pixelmill, or "
            "damaged: remove the table, and the next delivery makes it anew."
        ) from error


def _types(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


def _as_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])

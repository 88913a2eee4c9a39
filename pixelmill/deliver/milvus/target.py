"""Milvus, or Milvus Lite in a file: a collection a generation, and an alias that readers use.

    collection <name>__<key>   its property `pixelmill` holds what is known of it
    alias      <name>          of the one that is served

Vectors are compared by their inner product, which with `normalize` is the cosine. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pymilvus import DataType

from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.milvus.carried import USUAL, drop, indexes_of, settings_of
from pixelmill.deliver.milvus.server import MilvusServer, NotThere
from pixelmill.deliver.pieces import pieces
from pixelmill.errors import DeliveryRefused

_KNOWN: Final = "pixelmill"
"""The property of a collection that holds what is known of it."""
_TEXT_BYTES: Final = 65_535
"""The longest text that Milvus takes."""
_QUERY_ROWS: Final = 16_384
"""The most rows that a query of Milvus gives."""
_ROWS, _BYTES = 1_000, 8 << 20
"""Of what is sent or asked for at a time, at most; servers take 64 MB."""
_KINDS: Final = {pa.string(): DataType.VARCHAR, pa.int64(): DataType.INT64, pa.float64(): DataType.DOUBLE}
_RESERVED: Final = {
    "like", "exists", "and", "or", "not", "in", "true", "false", "null", "json_contains", "json_contains_all",
    "json_contains_any", "array_contains", "array_contains_all", "array_contains_any", "array_length", "text_match",
    "phrase_match", "random_sample", "is", "rowid", "timestamp",
}  # fmt: skip
"""Words of its conditions and fields of its own (`pkg/common/common.go`): no field may have one as its name."""


class MilvusTarget(Target):
    """Collections of one delivery; see the module."""

    def __init__(self, delivery: Delivery) -> None:
        self._name, self._server = delivery.name, MilvusServer(delivery)
        self._asked = self._server.asked
        self._loaded: set[str] = set()

    def close(self) -> None:
        self._server.close()

    def generations(self) -> list[Generation]:
        names = self._server.reached(lambda: list(self._asked("list_collections")))
        served = self._served()
        found = {name: self._known(name) for name in names if name.startswith(f"{self._name}__") or name == served}
        ours = {name: known for name, known in found.items() if known}
        if served and served not in ours:
            raise DeliveryRefused(
                f"Expected {self._name!r} to be free in {self._server.shown}, or a delivery. There is "
                f"{'a collection' if served == self._name else 'an alias'} of that name that none made. It was not "
                "touched: give the delivery another name, or remove it."
            )
        return [known.model_copy(update={"served": name == served}) for name, known in ours.items()]

    def begin(self, generation: Generation, shape: Shape) -> None:
        """With what somebody has set of the collection that is served."""
        schema = self._server.client.create_schema(auto_id=False, enable_dynamic_field=False)
        for field in shape.schema:
            schema.add_field(_name_of(field.name), **_field(field, shape.dim))
        served, index = self._served(), self._server.client.prepare_index_params()
        for told in indexes_of(self._server, served, [_name_of(name) for name in shape.schema.names]):
            index.add_index(**told)
        settings = settings_of(self._server, served)
        settings["properties"] = {**settings["properties"], _KNOWN: generation.model_dump_json()}
        self._asked(
            "create_collection", self._collection(generation.key), schema=schema, index_params=index,
            consistency_level="Strong", **settings,
        )  # fmt: skip

    def held(self, key: str, start: int, stop: int | None) -> Held:
        """Behind the last block, and before the first, there may be whatever somebody has put there."""
        name, found = self._readable(key), list[dict[str, Any]]()
        outside = ([] if start else ["row < 0"]) + ([f"row >= {start}"] if stop is None else [])
        for condition in outside:
            if self._count(name, condition):
                for page in self._server.pages(name, condition, ["row", "digest"], _ROWS):
                    found += page
        for first in range(start, stop or start, _QUERY_ROWS):
            condition = f"row >= {first} and row < {min(first + _QUERY_ROWS, stop or start)}"
            asked = {"output_fields": ["row", "digest"], "limit": _QUERY_ROWS}
            found += self._asked("query", name, filter=condition, **asked)
        return Held(*(np.array([one[name] for one in found], np.int64) for name in ("row", "digest")))

    def count(self, key: str) -> int:
        return self._count(self._readable(key), "")

    def write(self, generation: Generation, changes: Changes) -> None:
        name = self._readable(generation.key)
        self._check_texts(changes.batch)
        for start in range(0, len(changes.gone), _ROWS):
            self._asked("delete", name, ids=changes.gone[start : start + _ROWS].tolist())
        for piece in pieces(changes.batch, most=_BYTES, rows=_ROWS):
            self._asked("upsert", name, data=_lines(piece))
        self.keep(generation)

    def keep(self, generation: Generation) -> None:
        properties = {_KNOWN: generation.model_dump_json()}
        self._asked("alter_collection_properties", self._collection(generation.key), properties=properties)

    def serve(self, generation: Generation, shape: Shape) -> None:
        """Under all names that the one before had."""
        self.keep(generation)
        before, name = self._served(), self._collection(generation.key)
        self._asked("alter_alias" if before else "create_alias", name, self._name)
        if before and before != name:
            drop(self._server, before, name)

    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        name, ids, found = self._readable(key), [int(row) for row in rows], list[dict[str, Any]]()
        fields = {field: _name_of(field) for field in shape.schema.names}
        at_once = max(1, min(_ROWS, _BYTES // (4 * shape.dim)))
        for start in range(0, len(ids), at_once):
            asked = {"ids": ids[start : start + at_once], "output_fields": list(fields.values())}
            found += self._asked("query", name, **asked)
        lines = [{field: one.get(there) for field, there in fields.items()} for one in found]
        return pa.RecordBatch.from_pylist(lines, shape.schema)

    def drop(self, key: str) -> None:
        drop(self._server, self._collection(key), self._served())

    def _collection(self, key: str) -> str:
        return f"{self._name}__{key}"

    def _readable(self, key: str) -> str:
        """A collection that is loaded, as Milvus Lite forgets that it was, and has the index that this needs: a kill
        may have come before it was made."""
        name = self._collection(key)
        if name not in self._loaded:
            if not self._asked("list_indexes", name, field_name="vector"):
                index = self._server.client.prepare_index_params()
                index.add_index(**USUAL)
                self._asked("create_index", name, index)
            self._server.load(name)
            self._loaded.add(name)
        return name

    def _count(self, name: str, condition: str) -> int:
        (found,) = self._asked("query", name, filter=condition, output_fields=["count(*)"])
        return int(found["count(*)"])

    def _served(self) -> str | None:
        """The collection that readers find under the name; None if there is none."""
        if not self._asked("has_collection", self._name):
            return None
        if self._name in self._asked("list_collections"):
            return self._name
        return str(self._asked("describe_alias", self._name)["collection_name"])

    def _known(self, name: str) -> Generation | None:
        """What is known of a collection that this delivery made; None for others, copies of its own among them."""
        try:
            said = self._asked("describe_collection", name).get("properties") or {}
        except NotThere:  # dropped meanwhile
            return None
        with suppress(ValueError):
            known = Generation.model_validate_json(said.get(_KNOWN, ""))
            return known if known.definition.delivery == self._name and name == self._collection(known.key) else None
        return None

    def _check_texts(self, batch: pa.RecordBatch) -> None:
        for name in (field.name for field in batch.schema if pa.types.is_string(field.type)):
            for row, text in zip(batch.column("row").to_pylist(), batch.column(name).to_pylist(), strict=True):
                if text is not None and len(text.encode()) > _TEXT_BYTES:
                    raise DeliveryRefused(
                        f"Expected texts of at most {_TEXT_BYTES:,} bytes, which Milvus takes. The {name} of row {row} "
                        f"has {len(text.encode()):,}: leave the column out, or the row by `where`."
                    )


def _name_of(field: str) -> str:
    """What a field is called: a word that Milvus keeps for itself has a `_` behind it."""
    return f"{field}_" if field.rstrip("_").lower() in _RESERVED else field


def _field(field: pa.Field, dim: int) -> dict[str, Any]:
    """How a field is declared."""
    if field.name == "vector":
        return {"datatype": DataType.FLOAT_VECTOR, "dim": dim}
    if field.name == "row":
        return {"datatype": DataType.INT64, "is_primary": True}
    told = {"max_length": _TEXT_BYTES} if pa.types.is_string(field.type) else {}
    return {"datatype": _KINDS.get(field.type, DataType.INT64), "nullable": field.nullable, **told}


def _lines(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    names = [_name_of(name) for name in batch.schema.names[:-1]]
    columns = [_told(batch.column(at)) for at in range(len(names))]
    vectors = batch.column("vector").flatten().to_numpy().reshape(batch.num_rows, -1)
    lines = (dict(zip(names, line, strict=True)) for line in zip(*columns, strict=True))
    return [{**line, "vector": vector} for line, vector in zip(lines, vectors, strict=True)]


def _told(column: Any) -> list[Any]:
    return list((column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())

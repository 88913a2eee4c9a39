"""Collections of a Chroma server: a generation is one, called `<name>__<key>`, and `<name>` once readers see it.

A collection's id stays while its name changes, and its metadata, which are replaced at once, hold what is known of it.
Chroma has no alias and changes one name at a time, so while a new generation takes the place of the old one there is,
for the moment of one request, nothing called `<name>`. A delivery that is killed just then leaves it so: the next one
gives the old generation its name back before all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.chroma.server import MOST, ChromaServer, Collection, Metadata, Record
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.pieces import NO_DIGEST, column, whole
from pixelmill.errors import DeliveryRefused, TargetUnavailable

_BEFORE_KEY: Final = "__"
_NUMBERS: Final = 1_000_000
"""How many numbers of vectors are asked for at a time; they come as text."""


class ChromaTarget(Target):
    """Collections of one delivery; see the module."""

    def __init__(self, delivery: Delivery) -> None:
        self._name = delivery.name
        if delivery.name.endswith("_"):
            raise DeliveryRefused(
                f"Expected the name of a delivery to Chroma to end with a letter or digit. Got {delivery.name!r}."
            )
        self._server = ChromaServer(delivery)
        self._there: dict[str, Collection] = {}

    def close(self) -> None:
        self._server.close()

    def generations(self) -> list[Generation]:
        found = self._found()
        self._there = {kept.key: one for one, kept in found}
        return [kept.model_copy(update={"served": one.name == self._name}) for one, kept in found]

    def begin(self, generation: Generation, shape: Shape) -> None:
        """With what somebody has set of the index of the collection that is served."""
        self._give_name_back()
        name, known = self._own_name(generation.key), generation.model_dump_json()
        hnsw = next((one.hnsw for one, _ in self._found() if one.name == self._name), {})
        self._there[generation.key] = self._server.create(name, known, hnsw)

    def held(self, key: str, start: int, stop: int | None) -> Held:
        within: list[dict[str, Any]] = [{"row": {"$gte": start}}]
        where = {"$and": [*within, {"row": {"$lt": stop}}]} if stop is not None else within[0]
        told = [
            (record.metadata["row"], whole(record.metadata.get("digest"), NO_DIGEST))
            for record in self._server.get(self._id(key), {"where": where})
        ]
        rows, digests = np.array(told, np.int64).reshape(-1, 2).T
        return Held(rows, digests)

    def count(self, key: str) -> int:
        return self._server.count(self._id(key))

    def write(self, generation: Generation, changes: Changes) -> None:
        collection = self._id(generation.key)
        self._server.remove(collection, self._too_many(collection, changes))
        rows = changes.batch.column("row").to_numpy().tolist()
        dim = changes.batch.schema.field("vector").type.list_size
        vectors = changes.batch.column("vector").flatten().to_numpy().reshape(-1, dim)
        metadata, ids = _metadata(changes.batch), [str(row) for row in rows]
        for start in range(0, len(rows), MOST):
            some = slice(start, start + MOST)
            self._server.upsert(collection, ids[some], vectors[some], metadata[some])
        self.keep(generation)

    def keep(self, generation: Generation) -> None:
        self._check_alone(generation)
        self._change(generation)

    def serve(self, generation: Generation, shape: Shape) -> None:
        self._check_alone(generation)
        seen = [one for one in self._found() if one[1].key != generation.key and self._is_seen(*one)]
        for one, kept in seen:
            if one.name == self._name:
                self._server.change(one.id, name=self._own_name(kept.key))
        self._change(generation, name=self._name)
        for _, kept in seen:
            self.drop(kept.key)

    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        ids, most = [str(row) for row in rows], max(1, min(MOST, _NUMBERS // shape.dim))
        found = [
            record
            for start in range(0, len(ids), most)
            for record in self._server.get(self._id(key), {"ids": ids[start : start + most]}, vectors=True)
        ]
        vectors = np.array([record.vector for record in found], np.float32).reshape(-1)
        arrays = [_array(field, found) for field in shape.schema if field.name != "vector"]
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=shape.schema.field("vector").type))
        return pa.RecordBatch.from_arrays(arrays, schema=shape.schema)

    def drop(self, key: str) -> None:
        self._give_name_back()
        self._server.delete(self._own_name(key))

    def _own_name(self, key: str) -> str:
        return f"{self._name}{_BEFORE_KEY}{key}"

    def _collection(self, key: str) -> Collection:
        if key not in self._there:
            self.generations()
        if key not in self._there:
            raise TargetUnavailable(
                f"Expected the collection {self._own_name(key)} in {self._server.shown}. It is gone: something else "
                "has deleted it. The next delivery makes it anew."
            )
        return self._there[key]

    def _id(self, key: str) -> str:
        return self._collection(key).id

    def _change(self, generation: Generation, *, name: str | None = None) -> None:
        """Keep what is known of a generation, and with it a new name."""
        one, known = self._collection(generation.key), generation.model_dump_json()
        self._server.change(one.id, name=name, known=known)
        self._there[generation.key] = replace(one, name=name or one.name, known=known)

    def _found(self) -> list[tuple[Collection, Generation]]:
        """The collections of this delivery, and what is kept of each."""
        told = [(one, self._known(one)) for one in self._server.collections(self._name)]
        return [(one, kept) for one, kept in told if kept]

    def _is_seen(self, one: Collection, kept: Generation) -> bool:
        """Whether readers see a generation, or did before somebody was killed in the middle of `serve`."""
        return one.name == self._name or kept.served

    def _known(self, collection: Collection) -> Generation | None:
        """What is known of a collection of this delivery; None for one that it has nothing to do with."""
        generation = _read(collection.known)
        if generation and generation.definition.delivery == self._name:
            is_ours = collection.name in (self._name, self._own_name(generation.key))
            return generation if is_ours else None
        if collection.name != self._name:
            return None
        raise DeliveryRefused(
            f"Expected no collection {self._name!r} in {self._server.shown}, or one that this delivery made. There is "
            "one of somebody else's. Nothing of it was touched: give the delivery another name, or delete it there."
        )

    def _give_name_back(self) -> None:
        """Mend what a kill left in the middle of `serve`: readers have the old generation again."""
        seen = [one for one, kept in self._found() if self._is_seen(one, kept)]
        if seen and all(one.name != self._name for one in seen):
            self._server.change(seen[0].id, name=self._name)

    def _check_alone(self, generation: Generation) -> None:
        """Raise TargetUnavailable if somebody else wrote down other things of a generation meanwhile: then nothing of
        it is known to be right any more, whatever either takes for so."""
        one = self._collection(generation.key)
        if self._server.known(one.name) in (one.known, None):
            return
        doubtful = generation.model_copy(update={"marks": ()})
        self._server.change(one.id, known=doubtful.model_dump_json())
        raise TargetUnavailable(
            f"Expected {self._name!r} in {self._server.shown} to be delivered by one process. Another one does so too, "
            "from a copy of this store: give one of them another name. The next delivery compares everything."
        )

    def _too_many(self, collection: str, changes: Changes) -> list[str]:
        """Ids of rows that are gone, and of those that go by the number of another row."""
        ids = [str(row) for row in changes.gone]
        doubtful = np.concatenate([changes.gone, changes.replaced]).tolist()
        for start in range(0, len(doubtful), MOST):
            where = {"row": {"$in": doubtful[start : start + MOST]}}
            found = self._server.get(collection, {"where": where})
            ids += [record.id for record in found if record.id != str(record.metadata["row"])]
        return ids


def _read(known: str | None) -> Generation | None:
    try:
        return None if known is None else Generation.model_validate_json(known)
    except ValidationError:
        return None


def _metadata(batch: pa.RecordBatch) -> list[Metadata]:
    """All of a batch but its vectors; a time as milliseconds since 1970."""
    named = {}
    for field in batch.schema:
        if field.name != "vector":
            values = batch.column(field.name)
            named[field.name] = (values.cast(pa.int64()) if pa.types.is_timestamp(field.type) else values).to_pylist()
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def _array(field: pa.Field, records: Sequence[Record]) -> pa.Array:
    if field.name == "row":
        return pa.array([int(record.id) for record in records], pa.int64())
    return column(field, [record.metadata.get(field.name) for record in records])

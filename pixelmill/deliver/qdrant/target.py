"""Qdrant: a collection a generation, and an alias that readers use.

    collection <name>__<key>   points: id = row; payload: what else is delivered; metadata: what is known of it
    alias      <name>          of the one that is served

Vectors are compared by their dot product, since Qdrant keeps those that are compared by cosine divided by their length:
they would not be what was sent. With `normalize` both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation, Shape
from pixelmill.deliver.pieces import NO_DIGEST, column, pieces, whole
from pixelmill.deliver.qdrant.carried import carry_indexes, settings_of, switched
from pixelmill.deliver.qdrant.words import TOO_LARGE, QdrantServer
from pixelmill.errors import DeliveryRefused

_KNOWN: Final = "pixelmill"
"""The key of a collection's metadata under which lies what is known of it."""
_PAGE: Final = 4_096
"""Points that are listed at a time."""
_REQUEST: Final = 8 << 20
"""Bytes of a request, about; servers take 32 MB."""
_NUMBER_BYTES, _LETTER_BYTES, _FIELD_BYTES = 22, 2, 40
"""That a number of a vector takes in JSON, a letter of a text, and all else of a field, about."""
_FIRST_OF_OTHERS: Final = 2**63
"""From this id on none is a row: larger numbers, and UUIDs behind them."""
_OTHERS: Final = -1
"""Stands for all points of such ids, as if they were a row."""


class QdrantTarget(Target):
    """Collections of one delivery; see the module."""

    def __init__(self, delivery: Delivery) -> None:
        self._name, self._server = delivery.name, QdrantServer(delivery)
        self._client, self._in_words = self._server.client, self._server.in_words
        self._request = _REQUEST

    def close(self) -> None:
        self._client.close()

    def generations(self) -> list[Generation]:
        with self._in_words():
            names = [found.name for found in self._client.get_collections().collections]
            served = self._served()
            found = {name: self._known(name) for name in names if name.startswith(f"{self._name}__") or name == served}
        ours = {name: known for name, known in found.items() if known}
        if self._name in names or (served and served not in ours):
            raise DeliveryRefused(
                f"Expected {self._name!r} to be free in {self._server.shown}, or a delivery. There is "
                f"{'a collection' if self._name in names else 'an alias'} of that name that none made. It was not "
                "touched: give the delivery another name, or remove it."
            )
        return [known.model_copy(update={"served": name == served}) for name, known in ours.items()]

    def begin(self, generation: Generation, shape: Shape) -> None:
        """With what somebody has set of the collection that is served."""
        with self._in_words():
            before, name = self._before(), self._collection(generation.key)
            settings = settings_of(before, shape.dim)
            settings["metadata"] = {**settings.get("metadata", {}), _KNOWN: generation.model_dump_json()}
            self._client.create_collection(name, **settings)
            if self._known(name) is None:
                self._client.delete_collection(name)
                raise DeliveryRefused(
                    f"Expected Qdrant 1.16 or newer in {self._server.shown}, which keeps metadata of collections. This "
                    "one is older: update it."
                )
            carry_indexes(self._client, before, name)

    def held(self, key: str, start: int, stop: int | None) -> Held:
        rows, digests = list[int](), list[int]()
        after: Any = start or None
        with self._in_words():
            while True:
                limit = _PAGE if stop is None else min(_PAGE, stop - start + 1)
                points, after = self._client.scroll(
                    self._collection(key), limit=limit, offset=after, with_payload=["digest"], with_vectors=False
                )
                kept = [point for point in points if _is_row(point.id) and (stop is None or int(point.id) < stop)]
                rows += [int(point.id) for point in kept]
                digests += [whole((point.payload or {}).get("digest"), NO_DIGEST) or 0 for point in kept]
                if stop is None and len(kept) < len(points):
                    rows.append(_OTHERS)
                    digests.append(NO_DIGEST)
                if len(kept) < len(points) or after is None:
                    return Held(np.array(rows, np.int64), np.array(digests, np.int64))

    def count(self, key: str) -> int:
        with self._in_words():
            return self._client.count(self._collection(key), exact=True).count

    def write(self, generation: Generation, changes: Changes) -> None:
        name = self._collection(generation.key)
        with self._in_words():
            gone = changes.gone[changes.gone != _OTHERS]
            for start in range(0, len(gone), _PAGE):
                self._delete(name, gone[start : start + _PAGE].tolist())
            if len(gone) < len(changes.gone):
                self._delete_others(name)
            self._upsert(name, changes.batch)
        self.keep(generation)

    def keep(self, generation: Generation) -> None:
        with self._in_words():
            self._client.update_collection(
                self._collection(generation.key), metadata={_KNOWN: generation.model_dump_json()}
            )

    def serve(self, generation: Generation, shape: Shape) -> None:
        """With indexes that somebody made meanwhile, and under all names that the one before had."""
        self.keep(generation)
        with self._in_words():
            before, name = self._served(), self._collection(generation.key)
            if before != name:
                carry_indexes(self._client, self._before(), name)
            self._client.update_collection_aliases(switched(self._aliases(), self._name, name))
            if before and before != name:
                self._client.delete_collection(before)

    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        found = list[models.Record]()
        piece = max(_REQUEST // (_NUMBER_BYTES * shape.dim), 1)
        with self._in_words():
            for start in range(0, len(rows), piece):
                ids = [int(row) for row in rows[start : start + piece]]
                found += self._client.retrieve(self._collection(key), ids, with_payload=True, with_vectors=True)
        vectors = np.array([point.vector for point in found], np.float32).reshape(-1)
        arrays = [_array(field, found) for field in shape.schema if field.name != "vector"]
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=shape.schema.field("vector").type))
        return pa.RecordBatch.from_arrays(arrays, schema=shape.schema)

    def drop(self, key: str) -> None:
        with self._in_words():
            self._client.delete_collection(self._collection(key))

    def _collection(self, key: str) -> str:
        return f"{self._name}__{key}"

    def _aliases(self) -> dict[str, str]:
        return {alias.alias_name: alias.collection_name for alias in self._client.get_aliases().aliases}

    def _served(self) -> str | None:
        """The collection that the alias leads to; None if there is no alias."""
        return self._aliases().get(self._name)

    def _before(self) -> models.CollectionInfo | None:
        """What there is to know of the collection that is served."""
        served = self._served()
        return self._client.get_collection(served) if served else None

    def _known(self, name: str) -> Generation | None:
        """What is known of a collection that this delivery made; None for others, copies of its own among them."""
        try:
            said = (self._client.get_collection(name).config.metadata or {}).get(_KNOWN)
        except UnexpectedResponse as error:
            if error.status_code == 404:  # dropped meanwhile
                return None
            raise
        with suppress(ValueError):
            known = Generation.model_validate_json(said or "")
            return known if known.definition.delivery == self._name and name == self._collection(known.key) else None
        return None

    def _delete(self, name: str, ids: Sequence[models.ExtendedPointId]) -> None:
        self._client.delete(name, models.PointIdsList(points=list(ids)), wait=True)

    def _delete_others(self, name: str) -> None:
        """Delete the points whose ids are no rows."""
        while True:
            points, _ = self._client.scroll(
                name, limit=_PAGE, offset=_FIRST_OF_OTHERS, with_payload=False, with_vectors=False
            )
            if not points:
                return
            self._delete(name, [point.id for point in points])

    def _upsert(self, name: str, batch: pa.RecordBatch) -> None:
        """Write rows, by as many requests as it takes: what stands before a server may take less at a time."""
        done = 0
        while done < batch.num_rows:
            told = {"number": _NUMBER_BYTES, "letter": _LETTER_BYTES, "overhead": _FIELD_BYTES * batch.num_columns}
            piece = next(pieces(batch.slice(done), most=self._request, rows=_PAGE, **told))
            try:
                self._client.upsert(name, _points(piece), wait=True)
                done += piece.num_rows
            except UnexpectedResponse as error:
                if error.status_code != TOO_LARGE or piece.num_rows == 1:
                    raise
                self._request //= 2


def _is_row(key: Any) -> bool:
    return isinstance(key, int) and key < _FIRST_OF_OTHERS


def _points(batch: pa.RecordBatch) -> models.Batch:
    names = batch.schema.names[:-1]
    columns = [_told(batch.column(name)) for name in names]
    payloads = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    vectors = batch.column("vector").flatten().to_numpy().reshape(batch.num_rows, -1)
    return models.Batch(ids=batch.column("row").to_pylist(), vectors=vectors.tolist(), payloads=payloads)


def _told(values: Any) -> list[Any]:
    """Values as JSON has them: times by RFC 3339, which Qdrant takes for UTC where no zone is said."""
    if pa.types.is_timestamp(values.type):
        return [value and value.isoformat(timespec="milliseconds") for value in values.to_pylist()]
    return list(values.to_pylist())


def _array(field: pa.Field, points: Sequence[models.Record]) -> pa.Array:
    if field.name == "row":
        return pa.array([int(point.id) for point in points], pa.int64())
    values = [(point.payload or {}).get(field.name) for point in points]
    return column(field, [_milliseconds(value) for value in values] if pa.types.is_timestamp(field.type) else values)


def _milliseconds(value: Any) -> int | None:
    with suppress(TypeError, ValueError):
        at = datetime.fromisoformat(value)
        return int(np.datetime64(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at, "ms").astype(np.int64))
    return None

"""What a target is to hold of one snapshot of a store, block by block: rows, digests, batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixelmill.deliver import base
from pixelmill.deliver.base import Held, Rows
from pixelmill.deliver.delivery import Delivery, field_of
from pixelmill.deliver.generation import Definition, Field, Shape
from pixelmill.search.where import rows_where
from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.extents import Extent, clipped
from pixelmill.store.manifest import IDENTITY, LOCATION
from pixelmill.store.reader import Store

if TYPE_CHECKING:
    import pyarrow as pa

_DIGEST_BYTES = 8
_EARLIEST, _LATEST = (int(np.datetime64(f"{year}-01-01", "ms").astype(np.int64)) for year in ("0001", "9999"))
"""Times beyond are no dates to most programs."""


class Wanted:
    """The rows of a snapshot that a delivery mirrors: those whose file is there, which every model has embedded, and
    which fulfil its condition.

    Raises UnknownModel or UnknownColumn for what the store does not have, QueryError for a condition that cannot be
    answered.
    """

    def __init__(self, store: Store, delivery: Delivery) -> None:
        self.store = store
        self.ensemble = store.concatenated(delivery.models, normalize=delivery.normalize)
        self.columns = [store.columns.about(name) for name in delivery.columns]
        self.mask = self.ensemble.embedded & store.present
        self.condition = delivery.where
        if delivery.where is not None:
            self.mask &= rows_where(store, delivery.where)
        fields = [Field.of(column, field_of(column.name)) for _, column in self.columns]
        self.shape = Shape(self.ensemble.shape[1], fields)
        self.definition = Definition(
            delivery=delivery.name, store_id=store.manifest.store_id, dim=self.shape.dim, columns=tuple(fields),
            fingerprints=tuple(member.provenance.fingerprint for member in self.ensemble.members),
            weights=tuple(self.ensemble.weights), normalize=delivery.normalize, block=base.BLOCK,
        )  # fmt: skip

    def __len__(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def blocks(self) -> int:
        """How many blocks the snapshot has."""
        return -(-len(self.store) // base.BLOCK)

    def block(self, number: int) -> Block:
        """The rows of a block; none behind the last."""
        start = min(number * base.BLOCK, len(self.store))
        return Block(self, start, min(start + base.BLOCK, len(self.store)))

    def origin(self, number: int) -> str:
        """A text for where the values of a block lie: as long as it is the same, they are. A part never changes, and
        which rows are there is told by their paths; only a condition may know more."""
        start, stop = number * base.BLOCK, min((number + 1) * base.BLOCK, len(self.store))
        told = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for name, extents in self._datasets():
            told.update(f"\0{name}".encode())
            for piece in clipped(extents, start, stop):
                part = self.store.manifest.parts[piece.part].sha256
                told.update(f"\0{piece.row} {piece.rows} {part} {piece.offset}".encode())
        if self.condition is not None:
            told.update(np.packbits(self.mask[start:stop]).tobytes())
        return told.hexdigest()

    def _datasets(self) -> Iterator[tuple[str, tuple[Extent, ...]]]:
        yield IDENTITY[0], self.store.manifest.identity
        yield LOCATION[0], self.store.manifest.location
        for member in self.ensemble.members:
            yield member.matrix.vectors, member.matrix.extents
        for group, column in self.columns:
            yield group.dataset(column), group.extents


class Block:
    """Rows `start` to `stop` of what is wanted, read when they are asked for."""

    def __init__(self, wanted: Wanted, start: int, stop: int) -> None:
        self._wanted, self.start, self.stop = wanted, start, stop
        self.rows: Rows = start + np.flatnonzero(wanted.mask[start:stop])

    @property
    def shape(self) -> Shape:
        return self._wanted.shape

    def read(self, *, whole: bool) -> Block:
        """Itself, once all is read that its digests need; `whole`: and the batch of all its rows is made."""
        _ = self._all if whole else self.held
        return self

    @cached_property
    def held(self) -> Held:
        """The rows, and a digest of all that is delivered of each: 63 bits of BLAKE2b, so that no database takes it for
        negative. Vectors go into it as they are stored, since what is computed of them may differ in the last bit."""
        if not len(self.rows):
            return Held(self.rows, np.empty(0, np.int64))
        numbers = [_bytes_of(self._wanted.store.sha256(self.start, self.stop))]
        texts = [*self._location]
        for (_, column), values in zip(self._wanted.columns, self._values, strict=True):
            if column.kind == "text":
                texts.append(values)
            else:
                numbers.append(_bytes_of(values))
        numbers += [_bytes_of(np.array([len(text) for text in values], np.uint32)) for values in texts]
        fixed = [np.ascontiguousarray(np.hstack(numbers)), *map(_bytes_of, self._vectors)]
        at = (self.rows - self.start).tolist()
        digests = b"".join(_digest([line[i] for line in fixed], [values[i] for values in texts]) for i in at)
        return Held(self.rows, (np.frombuffer(digests, "<u8") >> 1).astype(np.int64))

    @property
    def digest(self) -> str:
        """A text that stands for all rows with their digests."""
        content = self.held.rows.astype("<i8").tobytes() + self.held.digests.astype("<i8").tobytes()
        return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()

    def batch(self, rows: Rows) -> pa.RecordBatch:
        """Some of the block's rows, as a record batch of the schema; `rows` ascending."""
        return self._all if len(rows) == len(self.rows) else self._batch(rows)

    @cached_property
    def _all(self) -> pa.RecordBatch:
        return self._batch(self.rows)

    def _batch(self, rows: Rows) -> pa.RecordBatch:
        import pyarrow as pa

        at, schema = rows - self.start, self._wanted.shape.schema
        stored = [vectors[at] for vectors in self._vectors] if len(at) < self.stop - self.start else self._vectors
        vectors = self._wanted.ensemble.side_by_side(stored, np.dtype(np.float32))
        sha256 = self._wanted.store.sha256(self.start, self.stop)[at]
        names = [_texts(texts[at], "backslashreplace") for texts in self._location]
        columns = [
            _as_arrow(column, values[at])
            for (_, column), values in zip(self._wanted.columns, self._values, strict=True)
        ]
        digests = self.held.digests[np.searchsorted(self.held.rows, rows)]
        arrays = [
            pa.array(rows), *names, _hexadecimal(sha256), *columns, pa.array(digests),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=schema.field("vector").type),
        ]  # fmt: skip
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    @cached_property
    def _vectors(self) -> list[np.ndarray]:
        return [member.read(self.start, self.stop) for member in self._wanted.ensemble.members]

    @cached_property
    def _location(self) -> list[np.ndarray]:
        return [self._wanted.store.texts(name, self.start, self.stop) for name in LOCATION]

    @cached_property
    def _values(self) -> list[np.ndarray]:
        columns = self._wanted.store.columns
        return [columns.read(column.name, self.start, self.stop) for _, column in self._wanted.columns]


def _bytes_of(values: np.ndarray) -> NDArray[np.uint8]:
    """(n,) or (n, k) numbers as (n, bytes) of them."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _digest(numbers: Sequence[NDArray[np.uint8]], texts: Sequence[bytes]) -> bytes:
    """Of one row: its numbers, the lengths of its texts among them, and the texts."""
    told = hashlib.blake2b(b"".join(texts), digest_size=_DIGEST_BYTES)
    for line in numbers:
        told.update(line.data)
    return told.digest()


def _texts(values: np.ndarray, errors: str, mask: NDArray[np.bool_] | None = None) -> Any:
    r"""Bytes as texts, null where masked. What is no UTF-8 becomes what `errors` says: "replace" a question mark,
    "backslashreplace" `\xe9`."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.string(), mask=mask)
    except pa.ArrowInvalid:
        return pa.array([text.decode(errors=errors) for text in values], pa.string(), mask=mask)


def _hexadecimal(values: NDArray[np.uint8]) -> Any:
    """(n, k) bytes as n texts."""
    import pyarrow as pa

    digits = np.frombuffer(values.tobytes().hex().encode(), np.uint8)
    ends = np.arange(len(values) + 1, dtype=np.int32) * (2 * values.shape[1])
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(digits))


def _as_arrow(column: Column, values: np.ndarray) -> Any:
    """Values of a column, null where nothing is known, or where it is no number or date to others."""
    import pyarrow as pa

    if column.kind == "text":
        return _texts(values, "replace", values == b"")
    if column.kind == "float64":
        return pa.array(values, mask=~np.isfinite(values))
    if not column.is_time:
        return pa.array(values, mask=values == MISSING_INT)
    return pa.array(values, mask=(values < _EARLIEST) | (values >= _LATEST)).cast(pa.timestamp("ms"))

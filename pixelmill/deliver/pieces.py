"""Batches of rows in pieces that a server takes at once, and what comes back as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_LEAST, _MOST = -(2**63), 2**63 - 1
NO_DIGEST: Final = -1
"""No row is sent with it, so one that has none differs."""


def pieces(
    batch: pa.RecordBatch, *, most: int, rows: int, number: int = 4, letter: int = 1, overhead: int = 0
) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of at most so many `rows`, which take at most so many bytes, or are one row: a `number` of a
    vector takes so many, a `letter` of a text, and as `overhead` each row."""
    ends = np.cumsum(_sizes(batch, number, letter) + overhead)
    start = 0
    while start < batch.num_rows:
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + most, side="right"))
        stop = max(min(stop, start + rows), start + 1)
        yield batch.slice(start, stop - start)
        start = stop


def _sizes(batch: pa.RecordBatch, number: int, letter: int) -> np.ndarray:
    """About how many bytes each row takes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = np.zeros(batch.num_rows, np.int64)
    for field in batch.schema:
        if pa.types.is_fixed_size_list(field.type):
            sizes += number * field.type.list_size
        elif pa.types.is_string(field.type):
            sizes += letter * pc.fill_null(pc.binary_length(batch.column(field.name)), 0).to_numpy()
        else:
            sizes += 8
    return sizes


def column(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    """Values that a database without kinds has kept, as `Shape.schema` has them: what is of another kind there counts
    as missing. A time is a whole number, milliseconds since 1970."""
    import pyarrow as pa

    if pa.types.is_string(field.type):
        missing = None if field.nullable else ""
        return pa.array([value if isinstance(value, str) else missing for value in values], pa.string())
    if pa.types.is_floating(field.type):
        return pa.array([_number(value) for value in values], pa.float64())
    missing_number = None if field.nullable else NO_DIGEST
    return pa.array([whole(value, missing_number) for value in values], pa.int64()).cast(field.type)


def whole(value: object, otherwise: int | None) -> int | None:
    """A whole number of 64 bits, or something else where it is none."""
    is_one = isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST
    return value if is_one else otherwise  # type: ignore[return-value]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

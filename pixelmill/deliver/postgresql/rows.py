"""Rows between Arrow and PostgreSQL: names and types of columns, and the binary form of values that COPY takes.

Of each value COPY wants its length (-1: null) and its bytes, numbers with the highest byte first
(https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"). A `vector` of pgvector is its number of
dimensions and two bytes of zero, then float4s (`vector_send` in its src/vector.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pixelmill.deliver.base import Held
from pixelmill.deliver.generation import Shape
from pixelmill.errors import DeliveryRefused

if TYPE_CHECKING:
    import pyarrow as pa

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END: Final = b"\xff\xff"
_PIECE: Final = 1024
"""Rows that are made ready at a time."""
_NULL: Final = b"\xff" * 4
_SYSTEM: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_LONGEST: Final = 63
_TYPES: Final = {"int64": "bigint", "double": "double precision", "string": "text", "timestamp[ms]": "timestamp"}
_FORMS: Final = {"int64": ">i8", "double": ">f8", "timestamp[ms]": ">i8"}
_MS_OF_2000: Final = 946_684_800_000
"""PostgreSQL counts microseconds, since 2000."""


def column_of(name: str) -> str:
    """What a field is called in a table: as it is but for the names that PostgreSQL has in each table, which get a `_`,
    and for what is too long, which PostgreSQL cuts off itself."""
    return f"{name}_" if name in _SYSTEM else name[:_LONGEST]


def columns_of(shape: Shape, vector: str) -> list[tuple[str, str, str]]:
    """Names, types and constraints of the columns of a table; `vector` is pgvector's type. Raises DeliveryRefused for
    two of one name."""
    columns = []
    for field in shape.schema:
        name = column_of(field.name)
        kind = f"{vector}({shape.dim})" if field.name == "vector" else _TYPES[str(field.type)]
        columns.append((name, kind, "" if field.nullable else f" CONSTRAINT {name}_not_null NOT NULL"))
    names = [name for name, *_ in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DeliveryRefused(
            f"Expected columns of different names in PostgreSQL. Got {twice[0]!r} twice: names have at most {_LONGEST} "
            f"letters there, and those of every table ({', '.join(sorted(_SYSTEM))}) get a `_`. Leave one out."
        )
    return columns


def packed(batch: pa.RecordBatch) -> tuple[list[str], Iterator[bytes]]:
    """A record batch as COPY takes it, from the head to the end, and the order of columns in which that is: those whose
    values are all as long as each other are put together by the array, and only the others one by one."""
    forms = {name: _form(batch.column(name)) for name in batch.schema.names}
    even = [name for name, form in forms.items() if form is not None]
    uneven = [name for name, form in forms.items() if form is None]
    line = np.dtype([("fields", ">i2"), *((name, [("size", ">i4"), ("value", forms[name])]) for name in even)])
    return [*even, *uneven], _pieces(batch, line, uneven)


def _pieces(batch: pa.RecordBatch, line: np.dtype[np.void], uneven: Sequence[str]) -> Iterator[bytes]:
    yield HEAD
    for first in range(0, batch.num_rows, _PIECE):
        piece = batch.slice(first, _PIECE)
        lines = np.empty(piece.num_rows, line)
        lines["fields"] = batch.num_columns
        for name in (line.names or ())[1:]:
            _fill(lines[name], piece.column(name))
        content = lines.data.cast("B")
        starts = range(0, len(content), line.itemsize)
        whole = [content[start : start + line.itemsize] for start in starts]
        yield b"".join(chain.from_iterable(zip(whole, *(_fields(piece.column(name)) for name in uneven), strict=True)))
    yield END


def _form(column: Any) -> Any:
    """What the values of a column are like in an array, if all are as long as each other."""
    kind = str(column.type)
    if column.null_count:
        return None
    if kind in _FORMS:
        return _FORMS[kind]
    if kind != "string":
        return [("dim", ">i2"), ("zero", ">i2"), ("values", ">f4", (column.type.list_size,))]
    lengths = np.diff(_ends(column))
    return f"S{lengths[0]}" if len(lengths) and lengths[0] and lengths[0] == lengths.min() == lengths.max() else None


def _fill(lines: np.ndarray, column: Any) -> None:
    lines["size"] = lines.dtype["value"].itemsize
    if str(column.type) == "string":
        ends = _ends(column)
        lines["value"] = np.frombuffer(column.buffers()[2], lines.dtype["value"], len(column), offset=int(ends[0]))
    elif str(column.type) in _FORMS:
        lines["value"] = _numbers(column)
    else:
        values = lines["value"]
        values["dim"], values["zero"] = column.type.list_size, 0
        values["values"] = column.flatten().to_numpy().reshape(len(column), -1)


def _numbers(column: Any) -> np.ndarray:
    """Whole numbers, numbers or times, as the server counts them; anything for null."""
    if not str(column.type).startswith("timestamp"):
        numbers: np.ndarray = column.fill_null(0).to_numpy(zero_copy_only=False)
        return numbers
    numbers = column.cast("int64").fill_null(0).to_numpy(zero_copy_only=False)
    return (numbers - _MS_OF_2000) * 1000


def _fields(column: Any) -> list[bytes]:
    if str(column.type) == "string":
        return [
            _NULL if text is None else len(text).to_bytes(4, "big") + text for text in column.cast("binary").to_pylist()
        ]
    lines = np.empty(len(column), [("size", ">i4"), ("value", _FORMS[str(column.type)])])
    lines["size"], lines["value"] = 8, _numbers(column)
    content, known = lines.tobytes(), column.is_valid().to_pylist()
    return [content[12 * i : 12 * i + 12] if is_known else _NULL for i, is_known in enumerate(known)]


def _ends(column: Any) -> np.ndarray:
    """Where the texts of a column begin in its bytes, and where the last one ends."""
    offsets: np.ndarray = np.frombuffer(column.buffers()[1], np.int32)
    return offsets[column.offset : column.offset + len(column) + 1]


def held_of(content: bytes) -> Held:
    """Rows and digests, of the bytes of both, row by row."""
    rows, digests = np.frombuffer(content, ">i8").reshape(-1, 2).T.astype(np.int64)
    return Held(rows, digests)


def batch_of(lines: Sequence[Sequence[bytes | None]], shape: Shape) -> pa.RecordBatch:
    """A batch of the schema, of binary values as the server gives them. What is null that must not be is empty, of a
    vector NaN: no delivery has written it."""
    import pyarrow as pa

    columns = list(zip(*lines, strict=True)) or [()] * len(shape.schema)
    arrays = [_array(values, field) for values, field in zip(columns, shape.schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=shape.schema)


def _array(values: Sequence[bytes | None], field: Any) -> Any:
    import pyarrow as pa

    kind = str(field.type)
    if kind == "string":
        known = values if field.nullable else [value or b"" for value in values]
        return pa.array(known, pa.binary()).cast(pa.string())
    if kind not in _FORMS:
        return _vector_array(values, field)
    numbers = np.frombuffer(b"".join(value or bytes(8) for value in values), _FORMS[kind]).astype(_FORMS[kind][1:])
    if kind.startswith("timestamp"):
        numbers = numbers // 1000 + _MS_OF_2000
    mask = np.array([value is None for value in values], bool) & field.nullable
    return pa.array(numbers, mask=mask).cast(field.type)


def _vector_array(values: Sequence[bytes | None], field: Any) -> Any:
    import pyarrow as pa

    dim, size = field.type.list_size, 4 + 4 * field.type.list_size
    nothing = bytes(4) + np.full(dim, np.nan, ">f4").tobytes()
    lines = np.frombuffer(b"".join(nothing if value is None else value for value in values), np.uint8)
    floats = np.ascontiguousarray(lines.reshape(-1, size)[:, 4:]).view(">f4").astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(floats.reshape(-1)), type=field.type)

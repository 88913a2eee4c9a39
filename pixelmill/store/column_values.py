"""The values of columns in one snapshot, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pixelmill.errors import StoreError, UnknownColumn, nearest
from pixelmill.store.columns import MISSING_INT, Column, ColumnGroup
from pixelmill.store.extents import Extent, clipped
from pixelmill.store.manifest import Manifest
from pixelmill.store.parts import PartFiles

_GAP = 64
"""Rows between two that are wanted that cost less to read than to begin anew behind them."""


class ColumnValues(Mapping[str, np.ndarray]):
    """What is known of the pictures of one snapshot: `columns["label"]` is an array with a value for each row.

    float64 (N,), NaN where nothing is known; int64 (N,), there the least of them; or an object array of str, there ''.
    """

    def __init__(self, manifest: Manifest, parts: PartFiles) -> None:
        self._manifest = manifest
        self._parts = parts
        self._found = {c.name: (g, c) for g in manifest.columns if g.serving for c in g.columns}

    def __getitem__(self, name: str) -> np.ndarray:
        """Raises UnknownColumn for one that the store does not have, StoreDamaged where a part is not sound."""
        values = self.read(name)
        if self.about(name)[1].dtype is None:
            return np.array([text.decode(errors="replace") for text in values], dtype=object)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def about(self, name: str) -> tuple[ColumnGroup, Column]:
        """A column, in the group that it is filled with. Raises UnknownColumn."""
        if name not in self._found:
            raise UnknownColumn(
                f"Expected a column of the store. Got {name!r}.{nearest(name, self._found)} "
                f"The store has: {', '.join(self._found) or 'none'}."
            )
        return self._found[name]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop` or the last of a column; texts as an object array of UTF-8 bytes. Raises like
        `__getitem__`."""
        group, column = self.about(name)
        stop = self._manifest.rows if stop is None else stop
        return values_of(self._parts, group, column, start, stop)

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The values of `rows`, in their order, like `read`; what lies between rows that are far apart is not read."""
        result = np.empty(len(rows), self.about(name)[1].dtype or object)
        order = np.argsort(rows, kind="stable")
        for at in np.split(order, np.flatnonzero(np.diff(rows[order]) > _GAP) + 1):
            if len(at):
                first, last = int(rows[at[0]]), int(rows[at[-1]])
                result[at] = self.read(name, first, last + 1)[rows[at] - first]
        return result

    def count(self, name: str) -> int:
        """In how many rows something is known. Raises like `__getitem__`."""
        group, column = self.about(name)
        return sum(int(np.count_nonzero(_filled(self._parts, piece, group.dataset(column), column)))
                   for piece in group.extents)  # fmt: skip


def _filled(parts: PartFiles, piece: Extent, dataset: str, column: Column) -> np.ndarray:
    if column.dtype is None:
        return parts.filled(piece, dataset)
    parts.check(piece)
    values = parts.array(piece, dataset)
    filled: np.ndarray = values == values if column.kind == "float64" else values != MISSING_INT
    return filled


def values_of(parts: PartFiles, group: ColumnGroup, column: Column, start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of a column, be it served or not; allocated only after the parts behind it were found."""
    dataset, pieces = group.dataset(column), list(clipped(group.extents, start, stop))
    for piece in pieces:
        parts.check(piece)
    try:
        result = column.empty(stop - start)
    except (MemoryError, ValueError) as error:
        raise StoreError(f"Expected memory for {stop - start} values of {column.name}. Read fewer rows.") from error
    for piece in pieces:
        read = parts.array if column.dtype else parts.texts
        result[piece.row - start : piece.end - start] = read(piece, dataset)
    return result


def are_known(parts: PartFiles, extent: Extent, dataset: str, column: Column) -> np.ndarray:
    """(rows,) bool: which rows of `extent` have a value that is not the missing one, in a column's dataset."""
    if column.dtype is None:
        return parts.filled(extent, dataset)
    values = parts.array(extent, dataset)
    known: np.ndarray = (values == values) & (values != column.missing)
    return known


def arrow_type(column: Column) -> Any:
    """What a column is in Arrow: a double, an int64, a string, or a timestamp in milliseconds without a zone."""
    import pyarrow as pa

    if column.is_time:
        return pa.timestamp("ms")
    return {"float64": pa.float64(), "int64": pa.int64(), "text": pa.string()}[column.kind]


def arrow_array(column: Column, values: np.ndarray) -> Any:
    """Values of a column as an array of Arrow's, null where nothing is known."""
    import pyarrow as pa

    if column.kind == "text":
        return pa.array([text.decode(errors="replace") or None for text in values], pa.string())
    missing = values == MISSING_INT if column.kind == "int64" else np.isnan(values)
    return pa.array(values, mask=missing).cast(arrow_type(column))

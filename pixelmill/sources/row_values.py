"""What stands beside images in the rows of a Parquet file: its other columns, read some rows at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from pixelmill.sources.said import Said, kept

_ROWS: Final = 512
"""Rows that are read at once."""


class RowValues:
    """The values of some columns of a Parquet file, for who asks for rows in nearly their order. For one thread at a
    time. `columns` are the numbers of Parquet's columns by the name of the top-level one."""

    def __init__(self, file: Any, columns: Mapping[str, list[int]]) -> None:
        self._file = file
        self._leaves = [leaf for leaves in columns.values() for leaf in leaves]
        counts = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
        self._starts: list[int] = [0, *accumulate(counts)]
        self._group = -1
        self._first, self._values = 0, list[tuple[str, list[Any]]]()
        self._rows = 0
        self._batches: Iterator[Any] = iter(())

    def said(self, row: int) -> Said:
        """What a row says. Raises ValueError for a file that has fewer."""
        while not (self._first <= row < self._first + self._rows):
            self._advance(row)
        return kept(((name, values[row - self._first]) for name, values in self._values), "parquet")

    def _advance(self, wanted: int) -> None:
        group = bisect_right(self._starts, wanted) - 1
        if group != self._group or wanted < self._first:
            self._group, self._first, self._rows = group, self._starts[group], 0
            self._batches = self._file.reader.iter_batches(
                _ROWS, row_groups=[group], column_indices=self._leaves, use_threads=False
            )
        try:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError("the file holds fewer rows than it says")
            self._first, self._rows = self._first + self._rows, batch.num_rows
            self._values = list(zip(batch.schema.names, map(_plain, batch.columns), strict=True))
        except BaseException:
            self._group = -1  # what it read from is at its end now
            self._rows = 0
            raise


def _plain(column: Any) -> list[Any]:
    """The values of an Arrow array; moments as texts (UTC), decimal numbers as floats."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.string())
    elif pa.types.is_duration(kind):
        column = column.cast(pa.duration("ms"), safe=False).cast(pa.int64())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64(), safe=False)
    elif pa.types.is_time(kind):
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    return values

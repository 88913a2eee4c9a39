"""Parquet files with the bytes of images, as Hugging Face keeps datasets: in a column of {bytes, path}, or of bytes."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from pixelmill.errors import SourceError
from pixelmill.images.formats import HEAD, sniff
from pixelmill.remote.archives import ArchiveDamaged, Member, Place, check_member, shown_path
from pixelmill.remote.files import Files, Status, opened

_ROWS: Final = 32
"""Rows that are read at once."""
_KEPT: Final = 8
"""So many times these are kept: threads ask for rows in nearly the order in which they lie."""


class ParquetArchive:
    """See `archives.Archive`. The place of a member is its row; a file with several columns of images has their names
    for folders.

    Rows are read in order, page by page; one that lies before those in memory is found from the start of its group.
    """

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._address = address
        self._guard = threading.Lock()
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise SourceError(
                f"Expected pyarrow to read {shown_path(address)}. Install it: pip install 'pixelmill[parquet]'"
            ) from error
        self._errors = pyarrow.ArrowException
        try:
            self._file: Any = parquet.ParquetFile(
                opened(files, address, status.size), pre_buffer=False, buffer_size=1 << 20
            )
            self._columns = list(_image_columns(self._file))
        except (self._errors, ValueError) as error:
            raise ArchiveDamaged(f"Expected a Parquet file in {shown_path(address)}. {error}.") from error
        if not self._columns:
            raise ArchiveDamaged(
                f"Expected a column with the bytes of images in {shown_path(address)}, as {{bytes, path}} or as bytes. "
                f"Found {', '.join(self._file.schema_arrow.names)}."
            )
        self._readers = {column: _Rows(self._file, column) for column in self._columns}

    def members(self) -> Iterator[Member]:
        for column in self._columns:
            for row, name in enumerate(self._names(column)):
                yield Member(self._member(column, row, name), 0, 0, row)

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        column = name.partition("/")[0] if len(self._columns) > 1 else self._columns[0]
        number = name.split("/")[1 if len(self._columns) > 1 else 0]
        rows: int = self._file.metadata.num_rows
        if column not in self._readers or not number.isdecimal() or int(number) >= rows:
            raise KeyError(name)
        try:
            with self._guard:
                data = self._readers[column].take(int(number))
        except (self._errors, ValueError, StopIteration) as error:
            raise OSError(f"{shown_path(self._address)}, row {number}: {error}") from error
        check_member(name, len(data or b""), most)
        return data or b""

    def _member(self, column: str, row: int, name: str | None) -> str:
        """Row and path, as in `00000017/cat.jpg`: rows sort by number, and paths may occur twice."""
        last = (name or "").replace("\\", "/").rpartition("/")[2]
        parts = [column] if len(self._columns) > 1 else []
        return "/".join([*parts, f"{row:08}", *([last] if last.strip(". ") else [])])

    def _names(self, column: str) -> Iterator[str | None]:
        """Their paths, which cost little to read: the bytes are columns of their own."""
        import pyarrow as pa

        kind = self._file.schema_arrow.field(column).type
        if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
            yield from [None] * self._file.metadata.num_rows
            return
        for batch in self._file.iter_batches(4096, columns=[f"{column}.path"], use_threads=False):
            yield from batch.column(0).field("path").to_pylist()


class _Rows:
    """The bytes of one column, for who asks for rows in nearly their order."""

    def __init__(self, file: Any, column: str) -> None:
        self._file, self._column = file, column
        counts = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
        self._starts: list[int] = [0, *accumulate(counts)]
        self._kept: OrderedDict[int, list[bytes | None]] = OrderedDict()
        self._group, self._next = -1, 0
        self._batches: Iterator[Any] = iter(())

    def take(self, row: int) -> bytes | None:
        first = self._first_of(row)
        while (kept := self._kept.get(first)) is None:
            self._advance(first)
        return kept[row - first]

    def _first_of(self, row: int) -> int:
        """The first row of the batch that holds a row. Batches begin anew with each group."""
        start = self._starts[self._group_of(row)]
        return start + (row - start) // _ROWS * _ROWS

    def _advance(self, wanted: int) -> None:
        group = self._group_of(wanted)
        if group != self._group or wanted < self._next:
            self._group, self._next = group, self._starts[group]
            columns = [_path(self._file, self._column)]
            self._batches = self._file.iter_batches(_ROWS, [group], columns=columns, use_threads=False)
        values = _bytes(next(self._batches).column(0))
        self._kept[self._next] = values
        self._kept.move_to_end(self._next)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        self._next += len(values)

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1


def _image_columns(file: Any) -> Iterator[str]:
    """Columns of {bytes, …}, and those of bytes whose first value is an image."""
    import pyarrow as pa

    for field in file.schema_arrow:
        kind = field.type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field(kind.get_field_index("bytes")).type
        if (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) and _begins_with_image(file, field.name):
            yield field.name


def _begins_with_image(file: Any, column: str) -> bool:
    for batch in file.iter_batches(_ROWS, columns=[_path(file, column)], use_threads=False):
        for value in _bytes(batch.column(0)):
            if value is not None:
                return sniff(value[:HEAD]) is not None
    return False


def _path(file: Any, column: str) -> str:
    """The name of the column of bytes, as Parquet has it."""
    import pyarrow as pa

    return f"{column}.bytes" if pa.types.is_struct(file.schema_arrow.field(column).type) else column


def _bytes(values: Any) -> list[bytes | None]:
    import pyarrow as pa

    made: list[bytes | None] = (values.field("bytes") if pa.types.is_struct(values.type) else values).to_pylist()
    return made

"""Parquet files with the bytes of images, as Hugging Face keeps datasets: in a column of {bytes, path}, or of bytes."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate, count
from typing import Any, Final
from urllib.parse import quote

from pixelmill.errors import SourceError
from pixelmill.images.decode import check_size
from pixelmill.images.formats import HEAD, sniff
from pixelmill.remote.archives import ArchiveDamaged, Member, Place, shown_path
from pixelmill.remote.files import Files, Status, opened

_ROWS: Final = 16
"""Rows that are read at once."""
_KEPT_BYTES: Final = 128 << 20
"""So many bytes of rows are kept, of all files, and at least the last batch: threads ask for rows in nearly the order
in which they lie."""
_numbers = count()


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
            columns = list(_image_columns(self._file))
        except (self._errors, ValueError, KeyError) as error:
            raise ArchiveDamaged(f"Expected a Parquet file in {shown_path(address)}. {error}.") from error
        if not columns:
            raise ArchiveDamaged(
                f"Expected a column with the bytes of images in {shown_path(address)}, as {{bytes, path}} or as bytes. "
                f"Found {', '.join(self._file.schema_arrow.names)}."
            )
        self._folders = {"": columns[0]} if len(columns) == 1 else {_folder(column): column for column in columns}
        self._readers = {folder: _Rows(self._file, column) for folder, column in self._folders.items()}

    def members(self) -> Iterator[Member]:
        for folder, column in self._folders.items():
            for row, name in enumerate(self._names(column)):
                yield Member(_member(folder, row, name), 0, 0, row)

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        folder, _, rest = ("", "", name) if "" in self._folders else name.partition("/")
        number = rest.partition("/")[0]
        rows: int = self._file.metadata.num_rows
        if folder not in self._readers or not number.isdecimal() or int(number) >= rows:
            raise KeyError(name)
        try:
            with self._guard:
                data = self._readers[folder].take(int(number))
        except (self._errors, ValueError) as error:
            raise OSError(f"row {number}: {str(error) or type(error).__name__}") from error
        check_size(len(data or b""), most)
        return data or b""

    def _names(self, column: str) -> Iterator[object]:
        """Their paths, which cost little to read: the bytes are columns of their own."""
        import pyarrow as pa

        kind = self._file.schema_arrow.field(column).type
        at = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
        if at < 0 or not (pa.types.is_string(kind.field(at).type) or pa.types.is_large_string(kind.field(at).type)):
            yield from [None] * self._file.metadata.num_rows
            return
        for batch in self._file.iter_batches(4096, columns=[f"{column}.path"], use_threads=False):
            yield from batch.column(0).field("path").to_pylist()


class _Rows:
    """The bytes of one column, for who asks for rows in nearly their order. For one thread at a time."""

    def __init__(self, file: Any, column: str) -> None:
        self._file, self._column, self._number = file, column, next(_numbers)
        counts = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
        self._starts: list[int] = [0, *accumulate(counts)]
        self._group, self._next = -1, 0
        self._batches: Iterator[Any] = iter(())

    def take(self, row: int) -> bytes | None:
        start = self._starts[self._group_of(row)]
        first = start + (row - start) // _ROWS * _ROWS  # batches begin anew with each group
        while (values := _kept.get((self._number, first))) is None:
            try:
                self._advance(first)
            except BaseException:
                self._group = -1  # what it read from is at its end now
                raise
        return values[row - first]

    def _advance(self, wanted: int) -> None:
        group = self._group_of(wanted)
        if group != self._group or wanted < self._next:
            self._group, self._next = group, self._starts[group]
            columns = [_path(self._file, self._column)]
            self._batches = self._file.iter_batches(_ROWS, [group], columns=columns, use_threads=False)
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the file holds fewer rows than it says")
        values = _bytes(batch.column(0))
        _kept.put((self._number, self._next), values)
        self._next += len(values)

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1


class _Kept:
    """The rows that were read last, of all files."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rows: OrderedDict[tuple[int, int], list[bytes | None]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int]) -> list[bytes | None] | None:
        with self._guard:
            return self._rows.get(key)

    def put(self, key: tuple[int, int], rows: list[bytes | None]) -> None:
        with self._guard:
            self._bytes += _size(rows) - _size(self._rows.pop(key, []))
            self._rows[key] = rows
            while self._bytes > _KEPT_BYTES and len(self._rows) > 1:
                self._bytes -= _size(self._rows.popitem(last=False)[1])


_kept = _Kept()


def _size(rows: list[bytes | None]) -> int:
    return sum(len(row or b"") for row in rows)


def _folder(column: str) -> str:
    """A column's name as a folder's."""
    return quote(column, safe=" ") if column.strip(". ") else f"column {column}"


def _member(folder: str, row: int, name: object) -> str:
    """Row and path, as in `00000017/cat.jpg`: rows sort by number, and paths may occur twice."""
    last = name.replace("\\", "/").rpartition("/")[2] if isinstance(name, str) else ""
    return "/".join([*([folder] if folder else []), f"{row:08}", *([last] if last.strip(". ") else [])])


def _image_columns(file: Any) -> Iterator[str]:
    """Columns of {bytes, …}, and those of bytes that begin like an image."""
    import pyarrow as pa

    for field in file.schema_arrow:
        kind = field.type
        if pa.types.is_struct(kind):
            at = kind.get_field_index("bytes")
            if at >= 0 and _is_bytes(kind.field(at).type):
                yield field.name
        elif _is_bytes(kind) and _begins_with_image(file, field.name):
            yield field.name


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _begins_with_image(file: Any, column: str) -> bool:
    """Whether one of the first few values is an image by its first bytes."""
    for batch in file.iter_batches(_ROWS, columns=[column], use_threads=False):
        return any(value is not None and sniff(value[:HEAD]) is not None for value in _bytes(batch.column(0)))
    return False


def _path(file: Any, column: str) -> str:
    """The name of the column of bytes, as Parquet has it."""
    import pyarrow as pa

    return f"{column}.bytes" if pa.types.is_struct(file.schema_arrow.field(column).type) else column


def _bytes(values: Any) -> list[bytes | None]:
    import pyarrow as pa

    made: list[bytes | None] = (values.field("bytes") if pa.types.is_struct(values.type) else values).to_pylist()
    return made

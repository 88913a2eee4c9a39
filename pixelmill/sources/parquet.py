"""Parquet files with the bytes of images, as Hugging Face keeps datasets: in a column of {bytes, path}, or of bytes."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, count, islice
from typing import Any, Final
from urllib.parse import quote

from pixelmill.errors import SourceError
from pixelmill.sources.address import shown_path
from pixelmill.sources.archive import ArchiveDamaged, Member, Place, State
from pixelmill.sources.columns import Column, image_columns, other_columns
from pixelmill.sources.files import Files, Status, check_size
from pixelmill.sources.formats import HEAD, sniff
from pixelmill.sources.ranges import opened
from pixelmill.sources.row_values import RowValues
from pixelmill.sources.said import Said

_ROWS: Final = 16
"""Rows that are read at once."""
_KEPT_BYTES: Final = 128 << 20
"""So many bytes of rows are kept, of all files, and at least the last batch: threads ask for rows in nearly the order
in which they lie."""
_numbers = count()

Image = tuple[int, tuple[int, ...], object]
"""Row, numbers in lists, path."""


class ParquetArchive:
    """See `archive.Archive`. The place of a member is its row; a file with several columns of images has their names
    for folders. Rows without an image have no member.

    Rows are read in order, page by page; one that lies before those in memory is found from the start of its group.
    """

    state: State = "whole"
    others = 0

    def __init__(self, files: Files, address: str, status: Status) -> None:
        self._address = address
        self._guard = threading.Lock()
        self.told: list[str] = []
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
            columns = [column for column in image_columns(self._file.schema_arrow) if self._holds_images(column)]
        except (self._errors, ValueError, KeyError) as error:
            raise ArchiveDamaged(f"Expected a Parquet file in {shown_path(address)}. {error}.") from error
        if not columns:
            raise ArchiveDamaged(
                f"Expected a column with the bytes of images in {shown_path(address)}, as {{bytes, path}} or as bytes, "
                f"or lists of these. Found {', '.join(self._file.schema_arrow.names)}."
            )
        self._folders = {"": columns[0]} if len(columns) == 1 else {_folder(column.name): column for column in columns}
        plain, others = other_columns(self._file.schema_arrow)
        images = {column.field for column in columns}
        self._beside = RowValues(self._file, plain) if plain else None
        self.left_out = [name for name in others if name not in images]
        """Columns that hold bytes and no images: nothing is kept of them."""
        self._readers = {folder: _Rows(self._file, column) for folder, column in self._folders.items()}

    def members(self) -> Iterator[Member]:
        self.told.clear()
        for folder, column in self._folders.items():
            for row, items, path in self._images(column):
                member = Member(_member(folder, row, items, path), 0, 0, row)
                yield member
                if self._beside:
                    yield replace(member, speaks=True)

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        folder, _, rest = ("", "", name) if "" in self._folders else name.partition("/")
        row, *items = rest.partition("/")[0].split("-")
        rows: int = self._file.metadata.num_rows
        if folder not in self._readers or not all(map(str.isdecimal, [row, *items])) or int(row) >= rows:
            raise KeyError(name)
        if len(items) != self._folders[folder].depth:
            raise KeyError(name)
        try:
            with self._guard:
                data = self._readers[folder].take(int(row), tuple(map(int, items)))
        except IndexError as error:
            raise KeyError(name) from error
        except (self._errors, ValueError) as error:
            raise OSError(f"row {row}: {str(error) or type(error).__name__}") from error
        check_size(len(data or b""), most)
        return data or b""

    def said(self, row: int) -> Said:
        """What stands beside the images of a row."""
        try:
            with self._guard:
                return self._beside.said(row) if self._beside else Said(origin="parquet")
        except (self._errors, ValueError) as error:
            raise OSError(f"row {row}: {str(error) or type(error).__name__}") from error

    def _holds_images(self, column: Column) -> bool:
        """Whether a column is one of images: of plain bytes some of the first values must begin like one."""
        if not column.bare:
            return True
        some = islice((value for *_, value in self._values(column, column.leaf) if value), _ROWS)
        return any(sniff(value[:HEAD]) is not None for value in some)

    def _images(self, column: Column) -> Iterator[Image]:
        """Where images are, with their paths. Paths cost little to read, the bytes much: these are read only where
        nothing else says which of them are there."""
        nulls = self._nulls(column)
        if nulls == 0 and column.path is None and not column.depth:
            yield from ((row, (), None) for row in range(self._file.metadata.num_rows))
            return
        found = list[Image]()
        absent = 0
        for row, items, value in self._values(column, column.leaf if column.path is None else column.path):
            if value is None:
                absent += 1
            else:
                found.append((row, items, None if column.bare else value.get("path")))
        if column.bare or absent == nulls:
            yield from found
            return
        there = {
            (row, items)
            for row, items, value in self._values(column, column.leaf)
            if value is not None and value.get("bytes") is not None
        }
        yield from (image for image in found if image[:2] in there)
        elsewhere = sum(1 for row, items, path in found if path and (row, items) not in there)
        if elsewhere:
            self.told.append(f"{elsewhere:,} rows of {column.name} name a file instead of holding it")

    def _values(self, column: Column, leaf: int) -> Iterator[tuple[int, tuple[int, ...], Any]]:
        """What one leaf holds: row, numbers in lists, value."""
        rows = count()
        for batch in _batches(self._file, _ROWS if leaf == column.leaf else 4096, None, leaf):
            for value, row in zip(batch.column(0).to_pylist(), rows, strict=False):
                yield from ((row, items, one) for items, one in column.values(value))

    def _nulls(self, column: Column) -> int | None:
        """How many of the bytes are not there, if the file says it."""
        total, metadata = 0, self._file.metadata
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(column.leaf).statistics
            if found is None or not found.has_null_count:
                return None
            total += found.null_count
        return total


class _Rows:
    """The bytes of one column, for who asks for rows in nearly their order. For one thread at a time."""

    def __init__(self, file: Any, column: Column) -> None:
        self._file, self._column, self._number = file, column, next(_numbers)
        counts = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
        self._starts: list[int] = [0, *accumulate(counts)]
        self._group, self._next = -1, 0
        self._batches: Iterator[Any] = iter(())

    def take(self, row: int, items: tuple[int, ...]) -> bytes | None:
        start = self._starts[self._group_of(row)]
        first = start + (row - start) // _ROWS * _ROWS  # batches begin anew with each group
        while (values := _kept.get((self._number, first))) is None:
            try:
                self._advance(first)
            except BaseException:
                self._group = -1  # what it read from is at its end now
                raise
        return self._column.at(values[row - first], items)

    def _advance(self, wanted: int) -> None:
        group = self._group_of(wanted)
        if group != self._group or wanted < self._next:
            self._group, self._next = group, self._starts[group]
            self._batches = _batches(self._file, _ROWS, [group], self._column.leaf)
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the file holds fewer rows than it says")
        values: list[Any] = batch.column(0).to_pylist()
        _kept.put((self._number, self._next), values, batch.nbytes)
        self._next += len(values)

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1


class _Kept:
    """The rows that were read last, of all files, with their size in bytes."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rows: OrderedDict[tuple[int, int], tuple[list[Any], int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int]) -> list[Any] | None:
        with self._guard:
            return self._rows[key][0] if key in self._rows else None

    def put(self, key: tuple[int, int], rows: list[Any], size: int) -> None:
        with self._guard:
            self._bytes += size - self._rows.pop(key, ([], 0))[1]
            self._rows[key] = rows, size
            while self._bytes > _KEPT_BYTES and len(self._rows) > 1:
                self._bytes -= self._rows.popitem(last=False)[1][1]


_kept = _Kept()


def _batches(file: Any, rows: int, groups: list[int] | None, leaf: int) -> Iterator[Any]:
    """One of Parquet's columns, by its number: names may hold the dots that part them."""
    groups = list(range(file.metadata.num_row_groups)) if groups is None else groups
    yield from file.reader.iter_batches(rows, row_groups=groups, column_indices=[leaf], use_threads=False)


def _folder(column: str) -> str:
    """A column's name as a folder's."""
    return quote(column, safe=" ") if column.strip(". ") else f"column {column}"


def _member(folder: str, row: int, items: tuple[int, ...], path: object) -> str:
    """Row and path, as in `00000017/cat.jpg`, or `00000017-0002/cat.jpg` in a list: rows sort by number, and paths may
    occur twice."""
    last = path.replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else ""
    number = "-".join([f"{row:08}", *(f"{item:04}" for item in items)])
    return "/".join([*([folder] if folder else []), number, *([last] if last.strip(". ") else [])])

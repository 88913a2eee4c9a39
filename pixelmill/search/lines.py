"""What a condition looks at, in blocks: values of rows, and of the files that hold them, as its engine takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError
from pixelmill.search.moments import EARLIEST_NS, LATEST_NS
from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from pixelmill.store.rows import Place

BLOCK: Final = 65_536
"""Rows whose values are in memory at a time."""
OF_FILES: Final = frozenset({"path", "source", "modified"})
"""What differs among the files of one content."""
_UTMOST_MS: Final = (2**63 - 2) // 1000

Values = NDArray[Any]
Read = Callable[[int, int], Values]
"""The values of rows from the first to before the second."""
Block = tuple[int, int, NDArray[np.int64], Sequence[Place]]
"""Rows from the first to before the second; the row of each line, and its file where lines are files."""


def blocks(store: Store, of_files: frozenset[str]) -> Iterator[Block]:
    """All rows; a line each, or where something `of_files` is asked, one for each of their files. Raises QueryError
    where only a ledger knows, and there is none. Of a store without rows, one block without lines."""
    files = _files(store, "modified" in of_files) if of_files else []
    rows = np.array([file.row for file in files], np.int64)
    for start in range(0, max(len(store), 1), BLOCK):
        stop = min(start + BLOCK, len(store))
        if of_files:
            first, last = np.searchsorted(rows, [start, stop]).tolist()
            yield start, stop, rows[first:last], files[first:last]
        else:
            yield start, stop, np.arange(start, stop), ()


def files_of(store: Store, rows: Sequence[int]) -> list[Place]:
    """The files of some rows, as the ledger has them, else those that the store names."""
    with ledger_of(store.folder) as ledger:
        if ledger:
            return list(ledger.contents.places_of(rows))
    return [Place(row, *store.location(row), 0, 0) for row in rows]


def values_of_files(name: str, files: Sequence[Place]) -> Values:
    """One of OF_FILES, for each file."""
    if name == "modified":
        return np.array([_local(file.mtime_ns) for file in files], "datetime64[us]")
    return _texts([getattr(file, name) for file in files])


def reading(store: Store, name: str) -> Read:
    """How to read what every row of every store has."""
    if name == "row":
        return np.arange
    if name == "bytes":
        sizes = _sizes(store)
        return lambda start, stop: sizes[start:stop]
    if name == "sha256":
        return lambda start, stop: _texts([row.tobytes().hex().encode() for row in store.sha256(start, stop)])
    return partial(store.column, f"images/{name}")


def reading_column(store: Store, column: Column) -> Read:
    """How to read one of the store's columns: times as such, what is missing masked, or an empty text."""

    def read(start: int, stop: int) -> Values:
        values = store.columns.read(column.name, start, stop)
        if column.is_time:
            # Beyond what there are dates for is none. The least int64 is numpy's own word for that.
            within = (values >= -_UTMOST_MS) & (values <= _UTMOST_MS)
            return np.where(within, values, MISSING_INT).view("datetime64[ms]").astype("datetime64[us]")
        if column.kind == "int64":
            return np.ma.masked_equal(values, MISSING_INT)
        return _texts(values) if column.kind == "text" else values

    return read


def concatenated(pieces: Sequence[Values]) -> Values:
    """Pieces of the values of one column as one; what is masked stays so."""
    masked = [np.ma.getmaskarray(piece) for piece in pieces]
    values = np.concatenate([np.ma.getdata(piece) for piece in pieces])
    return np.ma.array(values, mask=np.concatenate(masked)) if any(map(np.any, masked)) else values


def _sizes(store: Store) -> Values:
    """Bytes of each row's file: a fact of its content where it is known, else as the ledger has them."""
    sizes = np.zeros(len(store), np.int64)
    is_fact = "bytes" in store.columns and store.columns.about("bytes")[1].unit == "bytes"
    if is_fact:
        known = store.columns.read("bytes")
        sizes = np.where(known == MISSING_INT, 0, known)
    lacking = np.flatnonzero(store.present & (sizes == 0)).tolist()
    if lacking:
        with ledger_of(store.folder) as ledger:
            if not is_fact:
                _require(ledger, store, "bytes")
            found = ledger.contents.places_of(lacking) if ledger and is_fact else _all_files(ledger, len(store))
            for file in found:
                sizes[file.row] = sizes[file.row] or file.size
    return np.ma.masked_equal(sizes, 0)  # no image has none: it is not known


def _files(store: Store, with_times: bool) -> list[Place]:
    """The files of all rows, by row: of the ledger where their times are asked, else those that the store names and
    the copies."""
    with ledger_of(store.folder) as ledger:
        if with_times:
            _require(ledger, store, "modified")
            found = list(_all_files(ledger, len(store)))
        else:
            rows = enumerate(zip(store.sources, store.paths, strict=True))
            found = [Place(row, source, path, 0, 0) for row, (source, path) in rows]
            if ledger:
                found += (place for place in ledger.contents.shared_places() if place.row < len(store))
    return sorted(found, key=attrgetter("row"))


def _all_files(ledger: Ledger | None, rows: int) -> Iterator[Place]:
    every = ledger.contents.places_modified(EARLIEST_NS, LATEST_NS) if ledger else ()
    return (place for place in every if place.row < rows)


def _require(ledger: Ledger | None, store: Store, what: str) -> None:
    if ledger is None:
        raise QueryError(
            f"Expected a ledger in {store.folder}, which knows {what} of files. Found none; a run makes one."
        )


def _texts(names: Sequence[bytes] | Values) -> NDArray[np.object_]:
    result = np.empty(len(names), object)
    result[:] = [name.decode("utf-8", "backslashreplace") for name in names]
    return result


def _local(nanoseconds: int) -> datetime | None:
    """The local time of a file; None where it is not known, or beyond what there are dates for."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9) if nanoseconds else None
    except (ValueError, OverflowError, OSError):
        return None

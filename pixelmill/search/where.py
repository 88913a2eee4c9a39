"""Which rows fulfil a condition in SQL over what is known of pictures: what every store has, and its own columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError, nearest
from pixelmill.search.conditions import engine, fulfilling, read
from pixelmill.search.lines import (
    OF_FILES,
    Read,
    Values,
    blocks,
    concatenated,
    files_of,
    reading,
    reading_column,
    values_of_files,
)
from pixelmill.store.columns import Column
from pixelmill.store.reader import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS: Final = {
    "row": "number", "path": "text", "source": "text", "sha256": "text", "width": "number", "height": "number",
    "bytes": "number", "modified": "time",
}  # fmt: skip
"""What a condition may name in every store, and its kind; docs/python.md says what it is. A content in several files
fulfils it if one of these does. `bytes` is the fact where a store has that; another column of one of these names is
not seen."""
OF_THE_LEDGER: Final = OF_FILES | {"bytes"}
"""What the ledger may tell otherwise later, in one snapshot."""


def columns_of(condition: str) -> frozenset[str]:
    """The columns that a condition names, in small letters, be they there or not. Raises QueryError for none."""
    return frozenset(name.lower() for name in read(condition).named)


def rows_where(store: Store, condition: str) -> NDArray[np.bool_]:
    """(N,) bool: the rows that fulfil a condition in SQL, whether their file is there or not. Only columns that it
    names are read, block by block.

    Raises QueryError for a condition that cannot be answered, or needs a ledger where there is none.
    """
    asked = _asked(store, condition)
    result = np.zeros(len(store), dtype=bool)
    with closing(engine()) as answering:
        for start, stop, rows, files in blocks(store, asked.of_files):
            lines = {name: values(start, stop)[rows - start] for name, values in asked.of_rows.items()}
            lines |= {name: values_of_files(name, files) for name in asked.of_files}
            result[rows[asked.answer(answering, lines, len(rows))]] = True
    return result


def files_where(store: Store, condition: str, rows: Sequence[int]) -> frozenset[tuple[bytes, bytes]]:
    """Of the files of `rows`, as (source, path), those that fulfil a condition; none, if it tells files of one content
    not apart."""
    if not (OF_FILES & columns_of(condition) and rows):
        return frozenset()
    asked, files = _asked(store, condition), files_of(store, rows)
    lines = {
        name: concatenated([values(0, 0), *(values(file.row, file.row + 1) for file in files)])
        for name, values in asked.of_rows.items()
    }
    lines |= {name: values_of_files(name, files) for name in asked.of_files}
    with closing(engine()) as answering:
        return frozenset((files[i].source, files[i].path) for i in asked.answer(answering, lines, len(files)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A condition of which every name is known: what kind each is, and how it is read."""

    condition: str
    kinds: Mapping[str, str]
    of_rows: Mapping[str, Read]
    of_files: frozenset[str]

    def answer(self, answering: DuckDBPyConnection, lines: Mapping[str, Values], number: int) -> NDArray[np.int64]:
        """Which of a `number` of lines fulfil it. What is wrong with it is told with the kinds of its columns."""
        try:
            return fulfilling(answering, lines, number, self.condition)
        except QueryError as error:
            kinds = " and ".join(f"{name} is a {kind}" for name, kind in self.kinds.items())
            raise QueryError(f"{error} Here {kinds}." if kinds else str(error)) from error


def _asked(store: Store, condition: str) -> _Asked:
    columns = {name: store.columns.about(name)[1] for name in store.columns if name not in COLUMNS}
    known = COLUMNS | {name: column.word for name, column in columns.items()}
    named = [_meant(name, known, condition) for name in sorted(read(condition).named)]
    if len({name.lower() for name in named}) < len(set(named)):
        raise QueryError(f"Expected columns that SQL tells apart. Got {' and '.join(named)}, which differ in case.")
    return _Asked(
        condition, {name: known[name] for name in named},
        {name: _reading(store, name, columns) for name in named if name not in OF_FILES}, OF_FILES & set(named),
    )  # fmt: skip


def _reading(store: Store, name: str, columns: Mapping[str, Column]) -> Read:
    return reading_column(store, columns[name]) if name in columns else reading(store, name)


def _meant(name: str, known: Mapping[str, str], condition: str) -> str:
    """The column that a name means, in whatever case it is written. Raises QueryError for one that is not there."""
    quoted = f'"{name}"' in condition
    meant = [other for other in (name, *known) if other in known and other.lower() == name.lower()]
    if meant and (quoted or meant[0].isidentifier()):
        return meant[0]
    odd = [other for other in known if not other.isidentifier() and other.lower().startswith(name.lower())]
    hint = (
        f" A text stands in single quotes: '{name}'." if quoted
        else f' A name with a dot or a minus in it stands in double quotes: "{odd[0]}".' if odd else ""
    )  # fmt: skip
    near = "" if odd else nearest(name.lower(), known)
    raise QueryError(f"Expected a condition over {_listed(known)}. Got {name!r}.{near}{hint}")


def _listed(known: Mapping[str, str]) -> str:
    """The names by kind: numbers (row, width), texts (path), times (modified)."""
    kinds = {kind: [name for name in known if known[name] == kind] for kind in ("number", "text", "time")}
    return ", ".join(f"{kind}s ({', '.join(names)})" for kind, names in kinds.items())

"""Conditions in SQL over what is known of pictures, as `width >= 1000 AND path LIKE '2024/%'`: which rows fulfil one.

DuckDB reads and answers them, in memory, without files, network or extensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError, nearest
from pixelmill.search.moments import EARLIEST_NS, LATEST_NS
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from pixelmill.store.rows import Place

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS: Final = {
    "row": "number of the row",
    "path": "path of the file, relative to its source",
    "source": "folder, archive or address below which it was found",
    "sha256": "of the file's bytes, 64 hexadecimal digits",
    "width": "pixels, upright",
    "height": "pixels, upright",
    "bytes": "size of the file",
    "modified": "TIMESTAMP of the file's last change as the last run saw it, local time",
}
"""What a condition may name. A content in several files fulfils it if one of these does."""
OF_FILES: Final = frozenset({"path", "source", "bytes", "modified"})
"""Those that differ among the files of one content."""
_LEDGERS: Final = frozenset({"bytes", "modified"})
"""Those that the ledger alone knows."""
_ALONE: Final = {
    "enable_external_access": "false", "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "lock_configuration": "true",
}  # fmt: skip
_REFUSED: Final = {
    "SUBQUERY": "a query inside it", "PARAMETER": "a parameter", "POSITIONAL_REFERENCE": "the number of a column",
    "STAR": "columns by a pattern",
}  # fmt: skip
_NOW: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
"""What reads like a column, and is a moment."""
_FLEETING: Final = frozenset({
    "age", "current_date", "current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp",
    "now", "random", "today", "transaction_timestamp",
})  # fmt: skip
"""Functions that answer otherwise from one moment to the next."""
_TOLD: Final = 200
"""Characters of a condition that an error repeats."""
_MORE: Final = "It is more than one condition"
_EXAMPLE: Final = "width >= 1000 AND path LIKE '2024/%'"


def columns_of(condition: str) -> frozenset[str]:
    """The columns that a condition names. Raises QueryError for what is no condition over COLUMNS."""
    return _read(condition)[0]


def is_fleeting(condition: str) -> bool:
    """Whether other rows may fulfil a condition a moment later. Raises QueryError like `columns_of`."""
    return _read(condition)[1]


@lru_cache(maxsize=64)
def _read(condition: str) -> tuple[frozenset[str], bool]:
    tree = _tree(condition)
    if tree.get("error", True):
        wrong = tree.get("error_type") == "parser"
        raise _no_condition(condition, f"SQL does not read so: {tree['error_message']}" if wrong else _MORE)
    nodes = list(_nodes(_expression(tree["statements"], condition)))
    named = {".".join(node["column_names"]) for node in nodes if node.get("class") == "COLUMN_REF"}
    for node in nodes:
        if found := _REFUSED.get(node.get("class", "")):
            raise _no_condition(condition, f"It has {found}")
    moments = {name for name in named if name.lower() in _NOW}
    for name in sorted(named - moments):
        if name.lower() not in COLUMNS:
            quoted = f" A text stands in single quotes: '{name}'." if f'"{name}"' in condition else ""
            raise QueryError(
                f"Expected a condition over the columns {', '.join(COLUMNS)}. Got {name!r}."
                f"{nearest(name.lower(), COLUMNS)}{quoted}"
            )
    fleeting = any(node.get("function_name") in _FLEETING for node in nodes)
    return frozenset(name.lower() for name in named - moments), fleeting or bool(moments)


def rows_where(store: Store, condition: str) -> NDArray[np.bool_]:
    """(N,) bool: the rows that fulfil a condition in SQL, whether their file is there or not.

    Raises QueryError for a condition that cannot be answered, or needs a ledger where there is none.
    """
    named = columns_of(condition)
    lines = _of_each_file(store, named, list(_files(store, named))) if named & OF_FILES else _of_each_row(store, named)
    result = np.zeros(len(store), dtype=bool)
    result[lines["row"][_fulfilling(lines, condition)]] = True
    return result


def files_where(store: Store, condition: str, rows: Sequence[int]) -> frozenset[tuple[bytes, bytes]]:
    """Of the files of `rows`, as (source, path), those that fulfil a condition; none, if it tells files of one content
    not apart."""
    named = columns_of(condition)
    if not named & OF_FILES:
        return frozenset()
    with ledger_of(store.folder) as ledger:
        files = list(ledger.contents.places_of(rows)) if ledger else [Place(r, *store.location(r), 0, 0) for r in rows]
    fulfilling = _fulfilling(_of_each_file(store, named, files), condition)
    return frozenset((files[line].source, files[line].path) for line in fulfilling)


def _fulfilling(lines: Mapping[str, NDArray[Any]], condition: str) -> NDArray[np.int64]:
    """Which lines fulfil a condition."""
    with closing(_engine()) as engine:
        engine.register("pictures", {**lines, "line": np.arange(len(lines["row"]))})
        return _answer(engine, condition)


def _engine() -> DuckDBPyConnection:
    import duckdb

    return duckdb.connect(":memory:", config=dict(_ALONE))


def _answer(engine: DuckDBPyConnection, condition: str) -> NDArray[np.int64]:
    import duckdb

    try:
        found = engine.execute(f"SELECT line FROM pictures WHERE (\n{condition}\n)").fetchnumpy()  # noqa: S608
    except duckdb.Error as error:
        raise _no_condition(condition, str(error).partition("\n")[0]) from error
    return np.asarray(found["line"], dtype=np.int64)


def _expression(statements: Sequence[Any], condition: str) -> Any:
    """The one expression of `SELECT …`: a text may be more than that."""
    node = statements[0]["node"] if len(statements) == 1 else {}
    rest = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if (
        node.get("type") != "SELECT_NODE" or len(node["select_list"]) != 1 or any(node[part] for part in rest)
        or node["from_table"]["type"] != "EMPTY" or node["cte_map"]["map"]
    ):  # fmt: skip
        raise _no_condition(condition, _MORE)
    return node["select_list"][0]


def _tree(condition: str) -> dict[str, Any]:
    """What SQL makes of a condition. Raises QueryError for what no engine can read."""
    import duckdb

    try:
        with closing(_engine()) as engine:
            asked = engine.execute("SELECT json_serialize_sql(?)", [f"SELECT\n{condition}\n"]).fetchone()
        return dict(json.loads(asked[0] if asked else "{}"))
    except duckdb.Error as error:  # such as bytes that are no UTF-8
        raise _no_condition(condition, str(error).partition("\n")[0]) from error
    except RecursionError as error:
        raise _no_condition(condition, "It is nested too deeply") from error


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        branch = waiting.pop()
        if isinstance(branch, dict):
            yield branch
            waiting += branch.values()
        elif isinstance(branch, list):
            waiting += branch


def _no_condition(condition: str, why: str) -> QueryError:
    told = repr(condition)
    told = told if len(told) <= _TOLD else f"{told[:_TOLD]}…"
    return QueryError(f"Expected a condition in SQL such as {_EXAMPLE}. Got {told}. {why.rstrip('.!')}.")


def _of_each_row(store: Store, named: frozenset[str]) -> dict[str, NDArray[Any]]:
    """The columns that are named, and `row`."""
    return {"row": np.arange(len(store)), **{name: _IDENTITY[name](store) for name in named - {"row"}}}


def _of_each_file(store: Store, named: frozenset[str], files: Sequence[Place]) -> dict[str, NDArray[Any]]:
    """The same, a line for each file."""
    rows = np.array([file.row for file in files], np.int64)
    identity = {name: _IDENTITY[name](store)[rows] for name in named - OF_FILES - {"row"}}
    return {"row": rows, **identity, **{name: _of_files(name, files) for name in named & OF_FILES}}


def _files(store: Store, named: frozenset[str]) -> Iterator[Place]:
    """The files of all rows: of the ledger where it is asked, else those that the store names and the copies."""
    with ledger_of(store.folder) as ledger:
        if ledger is None and named & _LEDGERS:
            raise QueryError(
                f"Expected a ledger in {store.folder}, which knows {' and '.join(sorted(named & _LEDGERS))} of files. "
                "Found none; a run makes one."
            )
        if ledger and named & _LEDGERS:
            yield from (
                place for place in ledger.contents.places_modified(EARLIEST_NS, LATEST_NS) if place.row < len(store)
            )
            return
        for row, (source, path) in enumerate(zip(store.sources, store.paths, strict=True)):
            yield Place(row, source, path, 0, 0)
        if ledger:
            yield from (place for place in ledger.contents.shared_places() if place.row < len(store))


def _of_files(name: str, files: Sequence[Place]) -> NDArray[Any]:
    if name == "bytes":
        sizes = np.array([file.size for file in files], np.int64)
        return np.ma.masked_equal(sizes, 0)  # no image has none: it is not known
    if name == "modified":
        return np.array([_local(file.mtime_ns) for file in files], "datetime64[us]")
    return _texts([getattr(file, name) for file in files])


def _texts(names: Sequence[bytes]) -> NDArray[np.object_]:
    result = np.empty(len(names), object)
    result[:] = [name.decode("utf-8", "backslashreplace") for name in names]
    return result


def _local(nanoseconds: int) -> datetime | None:
    """The local time of a file; None where it is not known, or beyond what there are dates for."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9) if nanoseconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _digests(store: Store) -> NDArray[np.object_]:
    return _texts([row.tobytes().hex().encode() for row in store.sha256()])


_IDENTITY: Final[dict[str, Callable[[Store], NDArray[Any]]]] = {
    "sha256": _digests, "width": lambda store: store.widths, "height": lambda store: store.heights
}  # fmt: skip

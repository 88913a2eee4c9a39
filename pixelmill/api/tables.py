"""A store as a table: pandas' or Arrow's, with its columns, and with vectors where they are asked for."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError, StoreError
from pixelmill.store.column_values import arrow_array
from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.reader import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Values = Sequence[Any] | NDArray[Any]
COLUMNS = ("row", "path", "source", "sha256", "width", "height")


def frame_of(columns: Mapping[str, Values]) -> pd.DataFrame:
    """Columns as a table of pandas. Raises PixelmillError where that is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise missing("pandas", "pandas") from error
    return pd.DataFrame(dict(columns))


def frame(
    store: Store, rows: NDArray[np.int64], models: Sequence[str], chosen: Sequence[str] | None
) -> pd.DataFrame:  # fmt: skip
    """`rows` of a store with columns that are chosen, None for all, and a column of vectors, each an array or None, for
    each model."""
    columns = identity(store, rows) | columns_at(store, rows, chosen, COLUMNS)
    for name in _columns(models, columns):
        values, embedded = vectors(store, name, rows)
        made = np.empty(len(rows), object)
        made[:] = [vector if there else None for vector, there in zip(values, embedded, strict=True)]
        columns[name] = made
    return frame_of(columns)


def arrow(store: Store, rows: NDArray[np.int64], models: Sequence[str], chosen: Sequence[str] | None) -> pa.Table:
    """Like `frame`, as a table of Arrow's: vectors are fixed-size lists, null where there is none."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise missing("pyarrow", "parquet") from error
    made: dict[str, Any] = {
        name: pa.array(values, pa.string() if isinstance(values, list) else None)
        for name, values in identity(store, rows).items()
    }
    known = _chosen(store, chosen, COLUMNS)
    made |= {name: arrow_array(column, store.columns.take(column.name, rows)) for name, column in known.items()}
    for name in _columns(models, made):
        values, embedded = vectors(store, name, rows)
        flat = pa.array(values.ravel())
        made[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(~embedded))
    return pa.table(made)


def columns_at(
    store: Store, rows: NDArray[np.int64], chosen: Sequence[str] | None, taken: Sequence[str]
) -> dict[str, Values]:  # fmt: skip
    """Columns of a store at `rows` as pandas has them: float64, Int64, datetime64[ms] or str.

    What is missing is NaN, NA or NaT. Raises UnknownColumn, and PixelmillError where pandas is not installed.
    """
    known = _chosen(store, chosen, taken)
    return {name: _series(column, store.columns.take(column.name, rows)) for name, column in known.items()}


def _series(column: Column, values: NDArray[Any]) -> Values:
    try:
        import pandas as pd
    except ImportError as error:
        raise missing("pandas", "pandas") from error
    if column.is_time:
        values = values.view("datetime64[ms]")  # whose own word for none is the least int64
    elif column.kind == "int64":
        values = pd.arrays.IntegerArray(values, values == MISSING_INT)
    elif column.kind == "text":
        values = pd.array([text.decode(errors="replace") or None for text in values], dtype="str")
    return values


def identity(store: Store, rows: NDArray[np.int64]) -> dict[str, Values]:
    """What is known of each row. A byte of a name that is no UTF-8 stands as `\\xe9`: `store.paths` has it as it is."""
    names = [[name.decode("utf-8", "backslashreplace") for name in of[rows]] for of in (store.paths, store.sources)]
    digests = [digest.tobytes().hex() for digest in store.sha256()[rows]]
    return dict(zip(COLUMNS, (rows, *names, digests, store.widths[rows], store.heights[rows]), strict=True))


def vectors(store: Store, name: str, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The vectors of a model or a kept ensemble at `rows`, and which of them are there."""
    ensemble = store.concatenated([name])
    parts = [
        (member.take(rows).astype(np.float32) * np.float32(weight)).astype(ensemble.dtype)
        for member, weight in zip(ensemble.members, ensemble.weights, strict=True)
    ]
    return np.hstack(parts), ensemble.embedded[rows]


def missing(package: str, extra: str) -> PixelmillError:
    """The error for a package that is not installed."""
    return PixelmillError(f"Expected {package} for a table. It is not installed: `pip install 'pixelmill[{extra}]'`.")


def _chosen(store: Store, names: Sequence[str] | None, taken: Sequence[str]) -> dict[str, Column]:
    """Columns of a store, None for all, by the names that they get beside those taken. Raises UnknownColumn."""
    chosen = [store.columns.about(name)[1] for name in (store.columns if names is None else names)]
    return {f"columns/{column.name}" if column.name in taken else column.name: column for column in chosen}


def _columns(models: Sequence[str], known: Container[str]) -> Iterator[str]:
    """Names that become columns beside those that are there."""
    taken = [name for name in models if name in known or models.count(name) > 1]
    if taken:
        raise StoreError(f"Expected models, each named once. Got {taken[0]!r}, which is the name of another column.")
    yield from models

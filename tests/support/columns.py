"""Stores with columns that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pixelmill.store.column_writer import join
from pixelmill.store.columns import MISSING_INT, ColumnGroup, Values
from pixelmill.store.commit import StoreWriter
from tests.support.stores import provenance, record_files, shard_rows

TIME = "ms since 1970, camera's clock"


def add_columns(folder: Path, values: Mapping[str, Sequence[object]], units: Mapping[str, str] = {}) -> None:
    """Join columns to the rows of a store, each of the kind of its first value that is not None; None is missing."""
    groups, given = [], dict[str, list[object]]()
    for name, column in values.items():
        kind = {float: "float64", int: "int64"}.get(type(next(v for v in column if v is not None)), "text")
        told = {"name": name, "kind": kind, "unit": units.get(name, "")}
        groups.append(ColumnGroup.model_validate({"source": "test", "version": "1", "columns": [told]}))
        missing = {"float64": np.nan, "int64": MISSING_INT}.get(kind, b"")
        given[name] = [missing if v is None else v.encode() if isinstance(v, str) else v for v in column]

    def rows(start: int, stop: int) -> dict[str, Values]:
        return {name: column[start:stop] for name, column in given.items()}  # type: ignore[misc]

    with StoreWriter(folder) as writer:
        join(writer, groups, rows)


def store_with(folder: Path, values: Mapping[str, Sequence[object]], units: Mapping[str, str] = {}) -> Path:
    """A new store of as many pictures as there are values, with vectors of the model `a` (3), and those columns."""
    with StoreWriter(folder) as writer:
        numbers = range(len(next(iter(values.values()))))
        record_files(writer, numbers)
        writer.commit(shard_rows(numbers, [writer.matrix(provenance("a"), "float32")]))
    add_columns(folder, values, units)
    return folder


def clock(words: str) -> int:
    """What a camera's clock showed, as `taken_at` has it."""
    return int(datetime.fromisoformat(words).replace(tzinfo=UTC).timestamp() * 1000)

"""What a delivery is to hold, found by plain h5py in the store's master, and compared whole with what an engine has."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pixelmill.deliver.delivery import Delivery, field_of
from pixelmill.store.columns import MISSING_INT

Row = dict[str, Any]
Rows = dict[int, Row]
"""Rows by number, as `Engine.rows` gives them."""
FIRST, LAST = -62_135_596_800_000, 253_370_764_800_000
"""The years 1 to 9998, in milliseconds."""
OWN = {"row", "digest"}
"""What targets may show beside what is compared."""


def expected(folder: Path, delivery: Delivery, where: Callable[[Row], bool] = lambda row: True) -> Rows:
    """The rows of a store that a delivery is to hold, those of them for `where`: they have a path and all vectors."""
    with h5py.File(folder / "vectors.h5", "r") as file:
        vectors = _vectors(file, delivery)
        paths, sources = (file[f"images/{name}"][:] for name in ("path", "source"))
        contents = file["images/sha256"][:]
        columns = {field_of(name): _values(file["columns"][name]) for name in delivery.columns}
    rows = {
        row: {
            "path": paths[row].decode("utf-8", "backslashreplace"),
            "source": sources[row].decode("utf-8", "backslashreplace"),
            "sha256": contents[row].tobytes().hex(),
            **{name: values[row] for name, values in columns.items()},
            "vector": vectors[row].tolist(),
        }
        for row in range(len(paths))
        if paths[row] and not np.isnan(vectors[row]).any()
    }
    return {row: told for row, told in rows.items() if where(told)}


def _vectors(file: h5py.File, delivery: Delivery) -> np.ndarray:
    models, weights = list(delivery.models), [1.0] * len(delivery.models)
    if models[0] in file.get("ensembles", ()):
        kept = file["ensembles"][models[0]].attrs
        models, weights = list(kept["models"]), kept["weights"].tolist()
    members = [file["vectors"][model][:].astype(np.float64) for model in models]
    if delivery.normalize:
        members = [rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)) for rows in members]
    return np.hstack([rows * weight for rows, weight in zip(members, weights, strict=True)]).astype(np.float32)


def _values(dataset: h5py.Dataset) -> list[Any]:
    is_time = str(dataset.attrs.get("unit", "")).startswith("ms since 1970")
    return [_value(value, is_time) for value in dataset[:].tolist()]


def _value(value: Any, is_time: bool) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace") or None
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value == MISSING_INT:
        return None
    return _time(value) if is_time else value


def _time(value: int) -> datetime | None:
    """None for what others take for no date."""
    if not FIRST <= value < LAST:
        return None
    return datetime(1970, 1, 1) + timedelta(milliseconds=value)


def differences(found: Rows | None, wanted: Rows) -> list[str]:
    """What of the rows found is not as wanted, in words."""
    if found is None:
        return ["there is nothing under the name of the delivery"]
    told = [f"row {row} is missing" for row in sorted(wanted.keys() - found.keys())]
    told += [f"row {row} is too many" for row in sorted(found.keys() - wanted.keys())]
    for row in sorted(wanted.keys() & found.keys()):
        told += [f"row {row}, {name}" for name in differing(found[row], wanted[row])]
    return told


def differing(found: Row, wanted: Row) -> list[str]:
    """The names of the values that are not as wanted, each with both."""
    found = {name: value for name, value in found.items() if name not in OWN}
    if found.keys() != wanted.keys():
        return [f"columns: {sorted(found)} instead of {sorted(wanted)}"]
    return [
        f"{name}: {found[name]!r:.80} instead of {wanted[name]!r:.80}"
        for name in sorted(wanted)
        if not _same(name, found[name], wanted[name])
    ]


def _same(name: str, found: Any, wanted: Any) -> bool:
    if name != "vector":
        return type(found) is type(wanted) and (found == wanted or _is_close(found, wanted))
    a, b = np.array(found, np.float64), np.array(wanted, np.float64)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= 1e-6 * np.abs(b).max(initial=0))


def _is_close(found: Any, wanted: Any) -> bool:
    """Whether they are numbers that differ in the last bit: Qdrant and Chroma read JSON no more exactly."""
    return isinstance(found, float) and math.isclose(found, wanted, rel_tol=4e-16)


def changed(before: Rows, after: Rows) -> tuple[int, int]:
    """How many rows are new or other than before, and how many are gone."""
    sent = [row for row in after if row not in before or differing(before[row], after[row])]
    return len(sent), len(before.keys() - after.keys())


def are_rows_of(found: Rows | None, *states: Rows) -> bool:
    """Whether each row found is one of a state, as it is there."""
    return all(
        any(row in state and not differing(told, state[row]) for state in states) for row, told in (found or {}).items()
    )

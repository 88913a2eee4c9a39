"""Columns: what is known about pictures, a value a row; those that are filled together share their extents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from pixelmill.store.extents import Extent

ColumnKind = Literal["float64", "int64", "text"]
Values = np.ndarray | Sequence[bytes]
"""Of rows: float64 or int64 (N,), or as many texts in UTF-8."""

MISSING_INT: Final = -(2**63)
"""Stands in a column of whole numbers where there is none; in others that is NaN, or the empty text."""
MILLISECONDS: Final = "ms since 1970"
"""How the unit of a column of times begins; behind it may stand by which clock."""
_DTYPES: Final = {"float64": np.dtype(np.float64), "int64": np.dtype(np.int64)}


class Column(BaseModel):
    """One column: its name in `/columns`, what its values are, and their unit ('': none)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: ColumnKind
    unit: str = ""

    @property
    def dtype(self) -> np.dtype | None:
        """Of its values in a part; None for texts."""
        return _DTYPES.get(self.kind)

    @property
    def is_time(self) -> bool:
        """Whether its numbers are moments: milliseconds since 1970."""
        return self.kind == "int64" and self.unit.startswith(MILLISECONDS)

    @property
    def word(self) -> Literal["number", "text", "time"]:
        """What its values are, for people: a number, a text, a time."""
        return "time" if self.is_time else "text" if self.kind == "text" else "number"

    @property
    def missing(self) -> float | int | bytes:
        """What stands where nothing is known."""
        return {"float64": np.nan, "int64": MISSING_INT}.get(self.kind, b"")

    def plain(self, value: Any) -> float | int | str | None:
        """A value as JSON and people read it: a time by ISO 8601 without a zone, None where nothing is known."""
        if self.kind == "text":
            return bytes(value).decode(errors="replace") or None
        if self.kind == "float64":
            return float(value) if np.isfinite(value) else None
        known = int(value) != MISSING_INT
        return (str(np.datetime64(int(value), "ms")) if self.is_time else int(value)) if known else None

    def empty(self, rows: int) -> np.ndarray:
        """(rows,) of missing values; texts as an object array of bytes."""
        return np.full(rows, self.missing, dtype=self.dtype or object)


class ColumnGroup(BaseModel):
    """Columns that are filled together, as a matrix is. `source` says where the values come from, `version` of what
    rules made them; values of two versions never share a group. `serving`: `/columns` shows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    version: str
    columns: tuple[Column, ...]
    serving: bool = True
    extents: tuple[Extent, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Names what made the values, as that of a matrix does."""
        told = [self.source, self.version, *(part for c in self.columns for part in (c.name, c.kind, c.unit))]
        return hashlib.sha256("\0".join(told).encode()).hexdigest()

    @property
    def key(self) -> str:
        """The name of the group's datasets inside the part files."""
        return self.fingerprint[:16]

    @property
    def embedded(self) -> str:
        """The dataset that says which rows have values: one byte a row."""
        return f"filled/{self.key}"

    def dataset(self, column: Column) -> str:
        """Where the values of one of its columns lie in a part."""
        return f"columns/{self.key}/{column.name}"

    def datasets(self) -> Iterator[tuple[str, Column]]:
        """Each of its columns with its dataset."""
        return ((self.dataset(column), column) for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """All datasets of the group inside a part."""
        return (self.embedded, *(name for name, _ in self.datasets()))

    def told(self, column: Column) -> dict[str, str]:
        """What stands beside the values of one of its columns, for whoever reads them."""
        return {"kind": column.kind, "source": self.source, "version": self.version, "unit": column.unit}

    def published_name(self, column: Column) -> str:
        """The name of a column in the master."""
        return f"columns/{column.name}" if self.serving else f"generations/columns/{self.key}/{column.name}"

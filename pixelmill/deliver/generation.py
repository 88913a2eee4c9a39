"""What is known of a generation of rows in a target: of which store, made how, and which of its blocks are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from pixelmill.store.columns import Column

if TYPE_CHECKING:
    import pyarrow as pa

FieldKind = Literal["int64", "float64", "text", "time"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Field(_Frozen):
    """A column as targets have it: its name there, and its kind. A time is in milliseconds since 1970, of no zone."""

    name: str
    kind: FieldKind

    @classmethod
    def of(cls, column: Column, name: str) -> Field:
        return cls(name=name, kind="time" if column.is_time else column.kind)


class Definition(_Frozen):
    """What tells one generation from the next: the store, how its vectors and columns are made, and how many rows a
    block has. Two of one definition hold the same for the same snapshot."""

    delivery: str
    store_id: str
    fingerprints: tuple[str, ...]
    weights: tuple[float, ...]
    normalize: bool
    dim: int
    columns: tuple[Field, ...]
    block: int


class Generation(_Frozen):
    """One generation under its `key`, a few letters and digits, as its target keeps it.

    `marks` has a text for each block of rows that is known to be right: of what parts of a store, and what digests;
    '' where that is not known. `rows` is how many it has, and `revision` that of the snapshot, when it was last equal
    to one, `equal_at` (ISO 8601; '': never).
    """

    key: str
    definition: Definition
    served: bool = False
    marks: tuple[str, ...] = ()
    rows: int = 0
    revision: int = 0
    equal_at: str = ""

    def mark(self, block: int) -> str:
        """What is known of a block."""
        return self.marks[block] if block < len(self.marks) else ""

    def marked(self, block: int, mark: str) -> Generation:
        """With something else known of a block."""
        marks = [*self.marks, *[""] * (block + 1 - len(self.marks))]
        marks[block] = mark
        return self.model_copy(update={"marks": tuple(marks)})


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows look in a target: dimensions of a vector, and columns beside `row`, `path`, `source` and `sha256`."""

    dim: int
    columns: Sequence[Field]

    @property
    def schema(self) -> pa.Schema:
        """row int64; path, source, sha256 (hex) string; the columns, null where nothing is known; digest int64; vector
        of float32. All but the columns are never null."""
        import pyarrow as pa

        kinds = {"int64": pa.int64(), "float64": pa.float64(), "text": pa.string(), "time": pa.timestamp("ms")}
        return pa.schema([
            pa.field("row", pa.int64(), nullable=False),
            *(pa.field(name, pa.string(), nullable=False) for name in ("path", "source", "sha256")),
            *(pa.field(column.name, kinds[column.kind]) for column in self.columns),
            pa.field("digest", pa.int64(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), self.dim), nullable=False),
        ])  # fmt: skip

"""Indexes of a LanceDB table: what they are, so that they can be made again over other rows, and whether they have all
rows in them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from lancedb.index import IndexConfig

_OF_VECTORS: Final = {
    "IvfFlat": "IvfFlat", "IvfSq": "IvfSq", "IvfPq": "IvfPq", "IvfRq": "IvfRq",
    "IvfHnswFlat": "HnswFlat", "IvfHnswSq": "HnswSq", "IvfHnswPq": "HnswPq",
}  # fmt: skip
"""By what LanceDB calls an index of vectors: the class of `lancedb.index` that describes it."""
_OTHERS: Final = ("BTree", "Bitmap", "LabelList", "Fm", "FTS")
_RENAMED: Final = {"min_ngram_length": "ngram_min_length", "max_ngram_length": "ngram_max_length"}
"""What `FTS` calls otherwise than the index that is made of it."""


class LanceIndex(BaseModel):
    """An index: its name and column, and what LanceDB tells of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    column: str
    kind: str
    details: dict[str, Any] = {}

    @classmethod
    def of(cls, found: IndexConfig) -> LanceIndex:
        details = {name: value for name, value in (found.index_details or {}).items() if name != "runtime_hints"}
        return cls(name=found.name, column=found.columns[0], kind=found.index_type, details=details)

    def config(self, dim: int) -> Any:
        """What LanceDB is to be told to make it over vectors of `dim`. How many partitions it has nobody tells: as many
        as LanceDB takes for so many rows. Raises ValueError for a kind that is not known."""
        from lancedb import index

        if self.kind in _OF_VECTORS:
            return getattr(index, _OF_VECTORS[self.kind])(**self._of_vectors(dim))
        if self.kind not in _OTHERS:
            raise ValueError(f"Expected an index of a kind that is known. Got {self.kind!r}.")
        return getattr(index, self.kind)(**(self._of_texts(index.FTS) if self.kind == "FTS" else {}))

    def _of_vectors(self, dim: int) -> dict[str, Any]:
        graph, packed = self.details.get("hnsw") or {}, self.details.get("compression") or {}
        told = {"m": graph.get("max_connections"), "ef_construction": graph.get("construction_ef")}
        if packed.get("type") in ("pq", "rq"):
            told["num_bits"] = packed.get("num_bits")
        pieces = packed.get("num_sub_vectors")
        if pieces and dim % pieces == 0:
            told["num_sub_vectors"] = pieces
        metric = str(self.details.get("metric_type", "l2")).lower()
        return {"distance_type": metric} | {name: value for name, value in told.items() if value is not None}

    def _of_texts(self, described: type) -> dict[str, Any]:
        known = {field.name for field in fields(described)}
        told = {_RENAMED.get(name, name): value for name, value in self.details.items()}
        return {name: value for name, value in told.items() if name in known}


ROWS: Final = LanceIndex(name="row_idx", column="row", kind="BTree")
"""By which a delivery finds its rows, and a user one picture."""

"""Facts of pictures as the store keeps them: one group of columns, filled beside the matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from pixelmill.images.facts import FACTS, FACTS_VERSION
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.rows import Facts

FACTS_NAME: Final = "facts"
"""What they are called where else the name of a model stands."""
FACTS_GROUP: Final = ColumnGroup(
    source="fact", version=FACTS_VERSION, columns=tuple(Column(name=f.name, kind=f.kind, unit=f.unit) for f in FACTS)
)
Found = Mapping[str, float | int | str]
"""The facts of one picture, by name."""


def gathered(found: Sequence[tuple[int, Found]]) -> Facts:
    """The facts of some contents of a shard, each with the number of its content."""
    return Facts(
        FACTS_GROUP.fingerprint,
        np.array([index for index, _ in found], dtype=np.int64),
        {column.name: _values(column, [facts[column.name] for _, facts in found]) for column in FACTS_GROUP.columns},
    )


def _values(column: Column, values: Sequence[float | int | str]) -> np.ndarray | Sequence[bytes]:
    return np.array(values, dtype=column.dtype) if column.dtype else [str(value).encode() for value in values]

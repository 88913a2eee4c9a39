"""Facts as they travel, and whether those that come can be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pixelmill.store.columns import Column, ColumnGroup, Values
from pixelmill.store.rows import Facts

_MOST_TEXT: Final = 1024
"""Bytes of a text: four for each of the characters that one may have."""


def packed_facts(facts: Facts | None) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    """What goes as JSON, and arrays; texts are JSON."""
    if facts is None:
        return None, {}
    texts = {n: [bytes(v).decode() for v in vs] for n, vs in facts.values.items() if not isinstance(vs, np.ndarray)}
    arrays = {f"facts {name}": values for name, values in facts.values.items() if isinstance(values, np.ndarray)}
    return {"fingerprint": facts.fingerprint, "texts": texts}, {"facts": facts.index.astype("<i8"), **arrays}


def unpacked_facts(
    said: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray], groups: Sequence[ColumnGroup]
) -> Facts | None:
    """The facts that travelled, of one of `groups`. Raises LookupError, TypeError or ValueError for others."""
    if said is None:
        return None
    group = next((group for group in groups if group.fingerprint == said["fingerprint"]), None)
    if group is None:
        raise ValueError(f"it has facts that were not asked for, {said['fingerprint']!r:.40}")
    values: dict[str, Values] = {
        c.name: arrays[f"facts {c.name}"] if c.dtype else [text.encode() for text in said["texts"][c.name]]
        for c in group.columns
    }
    return Facts(group.fingerprint, arrays["facts"], values)


def require_facts(facts: Facts, groups: Sequence[ColumnGroup], contents: int) -> None:
    """Raise ValueError for facts that no worker makes of so many contents for one of `groups`."""
    group = next((group for group in groups if group.fingerprint == facts.fingerprint), None)
    if group is None or set(facts.values) != {column.name for column in group.columns}:
        raise ValueError("it has facts that were not asked for")
    index = facts.index
    if index.ndim != 1 or index.dtype.kind not in "iu" or len(np.unique(index)) < len(index):
        raise ValueError("its facts are not each of one content")
    if len(index) and not (index.min() >= 0 and index.max() < contents):
        raise ValueError(f"its facts are not each of one of its {contents:,} contents")
    for column in group.columns:
        _require_values(column, facts.values[column.name], len(index))


def _require_values(column: Column, values: Values, rows: int) -> None:
    if len(values) != rows:
        raise ValueError(f"it has {len(values):,} facts {column.name} of {rows:,} contents")
    if column.dtype:
        if not isinstance(values, np.ndarray) or values.dtype != column.dtype or np.isinf(values).any():
            raise ValueError(f"its facts {column.name} are no {column.kind}")
    elif any(len(text) > _MOST_TEXT or b"\0" in text for text in values):
        raise ValueError(f"a fact {column.name} is no short text")

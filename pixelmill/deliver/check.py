"""Compare a target with a snapshot, and name what differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pixelmill.deliver import base
from pixelmill.deliver.base import Held, Rows, Target
from pixelmill.deliver.generation import Generation
from pixelmill.deliver.wanted import Block, Wanted
from pixelmill.formatting import number_of

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE: Final = 10_000
"""Rows whose values are compared, if not all are."""
_NAMED: Final = 5
_CLOSE: Final = 1e-6
_is_close = partial(math.isclose, rel_tol=1e-15)


@dataclass(slots=True)
class Comparison:
    """What was found: rows `compared` value by value, and by what is wrong the rows of which it is."""

    compared: int = 0
    notes: list[str] = field(default_factory=list)
    wrong: dict[str, list[int]] = field(default_factory=dict)

    def add(self, what: str, rows: Sequence[int] | Rows) -> None:
        """Say of rows what is wrong with them."""
        if len(rows):
            self.wrong.setdefault(what, []).extend(int(row) for row in rows)

    @property
    def differences(self) -> tuple[str, ...]:
        """A sentence each."""
        told = (f"{number_of(len(rows), 'row')} {what}: {_few(rows)}." for what, rows in self.wrong.items())
        return (*self.notes, *told)


def compare(wanted: Wanted, target: Target, *, full: bool = False) -> Comparison:
    """Compare what readers of a target see with `wanted`: how many rows, which, the digests that each was sent with,
    and of a sample, or with `full` of all, every vector and column as it is there now."""
    found = Comparison()
    served = next((generation for generation in target.generations() if generation.served), None)
    if served is None:
        found.notes.append("Nothing was delivered yet.")
        return found
    if served.definition.store_id != wanted.definition.store_id:
        found.notes.append(
            f"What is there is of another store ({served.definition.store_id}): none of this touches it."
        )
        return found
    if served.definition != wanted.definition:
        found.notes.append("What was delivered was made otherwise than today: a new generation is to be delivered.")
        return found
    if (count := target.count(served.key)) != len(wanted):
        found.notes.append(f"{number_of(count, 'row')} instead of {len(wanted):,}.")
    chosen, is_behind = _chosen(wanted, full=full), False
    for number in range(max(wanted.blocks, len(served.marks))):
        block = wanted.block(number)
        is_behind |= served.mark(number).partition(" ")[2] != block.digest
        held = target.held(served.key, number * base.BLOCK, (number + 1) * base.BLOCK)
        _compare_rows(block, held, found)
        _compare_values(block, target, served.key, chosen, found)
    found.add("too many", target.held(served.key, max(wanted.blocks, len(served.marks)) * base.BLOCK, None).rows)
    if is_behind and served.revision != wanted.store.manifest.revision:
        found.notes.insert(0, _behind(served, wanted))
    return found


def _behind(served: Generation, wanted: Wanted) -> str:
    return (
        f"The store is at revision {wanted.store.manifest.revision}, the target was last equal to revision "
        f"{served.revision}: what came between is not delivered yet."
    )


def _chosen(wanted: Wanted, *, full: bool) -> Rows:
    rows = np.flatnonzero(wanted.mask)
    if full or len(rows) <= SAMPLE:
        return rows
    return np.sort(np.random.default_rng().choice(rows, SAMPLE, replace=False))


def _compare_rows(block: Block, held: Held, found: Comparison) -> None:
    wanted = block.held
    there, first, times = np.unique(held.rows, return_index=True, return_counts=True)
    found.add("missing", np.setdiff1d(wanted.rows, there, assume_unique=True))
    found.add("too many", np.setdiff1d(there, wanted.rows, assume_unique=True))
    found.add("there more than once", there[times > 1])
    both, ours, theirs = np.intersect1d(wanted.rows, there, assume_unique=True, return_indices=True)
    found.add("of another state", both[wanted.digests[ours] != held.digests[first][theirs]])


def _compare_values(block: Block, target: Target, key: str, chosen: Rows, found: Comparison) -> None:
    first, last = np.searchsorted(chosen, [block.start, block.stop])
    rows = chosen[first:last]
    if not len(rows):
        return
    there = target.fetch(key, rows, block.shape)
    held, first = np.unique(there.column("row").to_numpy(), return_index=True)
    there, ours = there.take(first), block.batch(held)
    found.compared += ours.num_rows
    if not ours.num_rows:
        return
    for name in sorted(set(ours.schema.names) - {"row", "digest"}):
        differ = _far(ours, there) if name == "vector" else _other(ours.column(name), there.column(name))
        found.add(f"with another {name}", held[differ])


def _far(ours: pa.RecordBatch, theirs: pa.RecordBatch) -> np.ndarray:
    a, b = (batch.column("vector").flatten().to_numpy().reshape(batch.num_rows, -1) for batch in (ours, theirs))
    scale = np.maximum(np.abs(a).max(axis=1, initial=0), 1e-30)
    differ: np.ndarray = ~(np.abs(a - b).max(axis=1, initial=0) <= _CLOSE * scale)
    return differ


def _other(ours: Any, theirs: Any) -> np.ndarray:
    return np.array([not _same(a, b) for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)], bool)


def _same(ours: Any, theirs: Any) -> bool:
    """Qdrant and Chroma read the last bit of some numbers wrongly from the JSON that they get or keep."""
    return bool(ours == theirs) or (isinstance(ours, float) and theirs is not None and _is_close(ours, theirs))


def _few(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
    return ", ".join(map(str, rows[:_NAMED])) + more

"""What came with pictures, brought into the engine: the values of rows, by their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pixelmill.batches import batched
from pixelmill.joining.engine import Engine
from pixelmill.joining.load import Given, Lines
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import LOCATION
from pixelmill.store.reader import BLOCK, Store

_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Said:
    """What came with the pictures of rows; (N,) bool: of which rows it is known what, or that nothing did; and names
    for which there was no room."""

    given: Given
    told: np.ndarray
    no_room: tuple[str, ...] = ()


def load_said(
    engine: Engine, ledger: Ledger, store: Store, number: int, rows: np.ndarray | None, names: tuple[set[str], int],
    check: Callable[[], None],
) -> Said:  # fmt: skip
    """Bring what came with the pictures of `rows` (None: all) into `lines_<number>`. Of its `names` those that are
    known already are taken, and so many others: the commonest, where all rows are looked at. `check` may raise at any
    time."""
    known, room = names
    others = [name for name in ledger.beside.names() if name not in known] if rows is None else []
    lines, told = Lines(engine, f"lines_{number}"), np.zeros(len(store), bool)
    allowed = known.union(others[:room])
    with engine.transaction():
        for some in batched(ledger.beside.of_rows(_located(store, rows)), _AT_ONCE):
            check()
            found = [(row, values) for row, values in some if values]
            told[[row for row, _ in some]] = True
            for name in dict.fromkeys(name for _, values in found for name in values):
                if name in lines.headers:
                    continue
                if name in allowed or (rows is not None and len(lines.headers) < room + len(known)):
                    lines.widen(name)
            columns = [[str(values.get(name, "")) for _, values in found] for name in lines.headers]
            lines.put([row for row, _ in found], columns)
    engine.run(f"CREATE VIEW joined_{number} AS SELECT line AS row, * FROM lines_{number}")  # noqa: S608
    columns_of = {name: f"c{at}" for at, name in enumerate(lines.headers)}
    return Said(Given(number, columns_of), told, tuple(others[room:]))


def _located(store: Store, rows: np.ndarray | None) -> Iterator[tuple[int, bytes]]:
    """Rows, each with its published absolute path."""
    for start in range(0, len(store), BLOCK):
        stop = min(start + BLOCK, len(store))
        wanted = np.arange(start, stop) if rows is None else rows[(rows >= start) & (rows < stop)]
        if len(wanted):
            paths, sources = (store.texts(name, start, stop) for name in LOCATION)
            for row in wanted.tolist():
                path, source = paths[row - start], sources[row - start]
                yield row, os.path.join(source, path) if path else b""  # noqa: PTH118 - bytes

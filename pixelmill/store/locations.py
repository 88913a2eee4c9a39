"""Where contents are now, for the master: the paths of rows, in blocks that are written anew when one of them moves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pixelmill.sources.found import below
from pixelmill.store.extents import clipped
from pixelmill.store.forgotten import forgotten_of
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import LOCATION, Part
from pixelmill.store.master import PARTS
from pixelmill.store.parts import write_part
from pixelmill.store.reader import Store

LOCATION_BLOCK = 65_536
"""Rows whose paths are rewritten together when one of them moves."""


def _pathless(store: Store, ledger: Ledger) -> list[int]:
    """The rows without a path that some file holds."""
    gone = ~store.present
    if gone.any():
        gone &= ledger.contents.live_rows(len(store))
    rows: list[int] = np.flatnonzero(gone).tolist()
    return rows


def to_locate(store: Store, ledger: Ledger, rows: Iterable[int]) -> np.ndarray:
    """The rows whose path may have to change, ascending; those that may be elsewhere keep theirs."""
    wanted = np.union1d(np.fromiter(rows, np.int64), np.fromiter(_pathless(store, ledger), np.int64))
    elsewhere = np.fromiter(ledger.contents.elsewhere(), np.int64)
    located: np.ndarray = np.setdiff1d(wanted[wanted < len(store)], elsewhere, assume_unique=True)
    return located


def blocks(rows: np.ndarray, end: int) -> Iterator[tuple[int, int, list[int]]]:
    """The blocks that ascending `rows` of `end` lie in, as (first row, end, those of the rows). One after the other:
    what is known of the rows of all of them at once would be some hundred bytes each."""
    for block in np.unique(rows // LOCATION_BLOCK).tolist():
        start, stop = block * LOCATION_BLOCK, min((block + 1) * LOCATION_BLOCK, end)
        first, last = np.searchsorted(rows, (start, stop))
        yield start, stop, rows[first:last].tolist()


def relocated(store: Store, ledger: Ledger, start: int, stop: int, rows: Sequence[int]) -> tuple[Part | None, int]:
    """A part with where rows `start` to `stop` are, some of which may have changed, and how many have."""
    columns, number = _columns(store, ledger, start, stop, rows)
    if not number:
        return None, 0
    _require_sound(store, start, stop)
    return write_part(store.folder / PARTS, columns), number


def _columns(
    store: Store, ledger: Ledger, start: int, stop: int, rows: Sequence[int]
) -> tuple[dict[str, Sequence[bytes]], int]:
    """The location columns of rows `start` to `stop`, with where some of them are now; how many of these changed."""
    paths, sources = (store.texts(name, start, stop) for name in LOCATION)
    changed = 0
    for i in (row - start for row in rows):
        current = os.path.join(sources[i], paths[i]) if paths[i] else b""  # noqa: PTH118 - bytes
        root, found = ledger.contents.live_path(i + start, current)
        if found != current:
            paths[i], sources[i] = (below(found, root), root) if found else (b"", sources[i])
            changed += 1
    return {LOCATION[0]: paths.tolist(), LOCATION[1]: sources.tolist()}, changed


def note_gone(store: Store, ledger: Ledger) -> None:
    """Let a ledger take note of which rows of a snapshot no file holds."""
    gone = np.flatnonzero(~store.present)
    ledger.gone.note(np.setdiff1d(gone, forgotten_of(store, gone), assume_unique=True))


def _require_sound(store: Store, start: int, stop: int) -> None:
    for extent in clipped(store.manifest.location, start, stop):
        store.parts.require_sound(extent)

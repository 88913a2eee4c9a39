"""Rows that were forgotten: what stands in their place, and what is on record of having them erased.

STORE/forgotten.json   rows that are being erased now, and what may hold erased ones still: numbers and names
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pixelmill.errors import StoreDamaged
from pixelmill.formatting import number_of
from pixelmill.store.durable import write_durably
from pixelmill.store.extents import extents_holding
from pixelmill.store.reader import BLOCK, Store

FILE: Final = "forgotten.json"
FORGOTTEN: Final = "(forgotten)"
"""Stands in what is kept of runs and evaluations for texts that named a picture."""
_MARK: Final = 23
"""Zero bytes with which the identity of a forgotten row begins; a 1 follows, then the row's number in 8 bytes."""

Rows = NDArray[np.int64]


class Forgetting(BaseModel):
    """What is on record of forgetting: no name, no checksum and no vector of a picture.

    `rows` (half-open ranges) are those that are to hold nothing, as long as that is not done everywhere in the store;
    `thumbnails` is the folder in which the gallery keeps its pictures. `erased_at` (Unix seconds, by the clock of the
    store's file system) says when rows were erased last. `deliveries` may hold erased rows still.
    """

    model_config = ConfigDict(frozen=True)

    rows: tuple[tuple[int, int], ...] = ()
    thumbnails: str = ""
    erased_at: float = 0.0
    deliveries: tuple[str, ...] = ()

    @property
    def numbers(self) -> Rows:
        """The rows one by one, ascending."""
        ranges = [np.arange(start, stop, dtype=np.int64) for start, stop in self.rows]
        return np.concatenate(ranges) if ranges else np.empty(0, np.int64)

    @property
    def is_undone(self) -> bool:
        """Whether something is left to do."""
        return bool(self.rows or self.deliveries)

    def told(self, folder: Path) -> list[str]:
        """In words, what is not done yet."""
        found: list[str] = []
        if self.rows:
            rows = number_of(sum(stop - start for start, stop in self.rows), "row")
            found.append(f"Forgetting {rows} of {folder} was begun and is not done: {ends(folder)}.")
        if self.deliveries:
            names = ", ".join(self.deliveries)
            found.append(f"What was forgotten may still lie where deliveries went ({names}): {ends(folder)}.")
        return found


def ends(folder: Path) -> str:
    """What to do where something is left."""
    return f"`pixelmill forget {folder}` brings it to its end"


def ranges(rows: Rows) -> tuple[tuple[int, int], ...]:
    """Ascending rows as half-open ranges."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return tuple((int(some[0]), int(some[-1]) + 1) for some in np.split(rows, cuts) if len(some))


def on_record(folder: Path) -> Forgetting:
    """What is on record of a store. Raises StoreDamaged where that cannot be read."""
    try:
        return Forgetting.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        return Forgetting()
    except (OSError, ValidationError) as error:
        raise StoreDamaged(
            f"Expected {folder / FILE} to say what is to be forgotten. It cannot be read. Remove it, and forget these "
            "pictures again."
        ) from error


def keep(folder: Path, forgetting: Forgetting) -> None:
    """Keep it, durably."""
    write_durably(folder / FILE, forgetting.model_dump_json().encode())


def identities(rows: Rows) -> NDArray[np.uint8]:
    """(len(rows), 32): what stands for the sha256 of forgotten rows, which no content has for one."""
    result = np.zeros((len(rows), 32), np.uint8)
    result[:, _MARK] = 1
    result[:, _MARK + 1 :] = np.asarray(rows, ">u8").reshape(-1, 1).view(np.uint8)
    return result


def are_forgotten(sha256: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(N,): which of (N, 32) stand for forgotten rows."""
    found: NDArray[np.bool_] = ~sha256[:, :_MARK].any(axis=1) & (sha256[:, _MARK] == 1)
    return found


def forgotten(store: Store) -> NDArray[np.bool_]:
    """(N,): which rows of a snapshot were forgotten."""
    blocks = [are_forgotten(store.sha256(at, min(at + BLOCK, len(store)))) for at in range(0, len(store), BLOCK)]
    return np.concatenate([np.zeros(0, bool), *blocks])


def forgotten_of(store: Store, rows: Rows) -> Rows:
    """Those of ascending rows that were forgotten."""
    found = [
        rows[first:last][are_forgotten(store.parts.array(extent, "images/sha256")[rows[first:last] - extent.row])]
        for extent, first, last in extents_holding(store.manifest.identity, rows)
    ]
    return np.concatenate([np.empty(0, np.int64), *found])

"""Rows that lost their identity or location with a damaged part, filled from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pixelmill.errors import StoreError
from pixelmill.store.contents import lost_identities
from pixelmill.store.extents import Extent, extents_of_rows, overlay
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import IDENTITY, LOCATION, Manifest
from pixelmill.store.master import PARTS
from pixelmill.store.parts import write_part
from pixelmill.store.schema import LEDGER


def with_rows_from_ledger(folder: Path, manifest: Manifest, actions: list[str]) -> Manifest:
    """Fill rows that lost their identity or location from the ledger; their size in pixels comes with the next run."""
    for names, extents, field in ((IDENTITY, manifest.identity, "identity"), (LOCATION, manifest.location, "location")):
        rows = _uncovered(extents, manifest.rows)
        if not len(rows):
            continue
        part = write_part(folder / PARTS, _columns_of(folder, names, rows.tolist(), actions))
        filled = overlay(extents, extents_of_rows(rows, np.arange(len(rows)), part.file))
        manifest = manifest.model_copy(update={field: filled, "parts": {**manifest.parts, part.file: part}})
    return manifest


def _columns_of(
    folder: Path, names: tuple[str, ...], rows: list[int], actions: list[str]
) -> Mapping[str, np.ndarray | Sequence[bytes]]:
    told = " and ".join(names)
    try:
        if not (folder / LEDGER).exists():
            raise StoreError(f"there is no {LEDGER}")
        with Ledger(folder) as ledger:
            columns = ledger.contents.identities(rows) if names == IDENTITY else ledger.contents.locations(rows)
        actions.append(f"restored {told} of {len(rows)} rows from the ledger")
    except StoreError as error:
        actions.append(f"lost {told} of {len(rows)} rows ({error}); their images get new rows in the next run")
        size = np.zeros(len(rows), dtype=np.int32)
        identity = {"images/sha256": lost_identities(rows), "images/width": size, "images/height": size}
        return identity if names == IDENTITY else dict.fromkeys(LOCATION, [b""] * len(rows))
    return columns


def _uncovered(extents: tuple[Extent, ...], rows: int) -> np.ndarray:
    covered = np.zeros(rows, dtype=bool)
    for extent in extents:
        covered[extent.row : extent.end] = True
    return np.flatnonzero(~covered)

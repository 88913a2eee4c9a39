"""Rows erased from a store: from every part, the master and the ledger, and from what died or was replaced before.

What is published takes the rows' place in one rename; the files that held them are deleted after that. Rows that are
being erased are on record before the first of it (`forgotten.py`): whoever finds them there does it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from pixelmill.errors import StoreBusy
from pixelmill.store.columns import Values
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import TARGET_BYTES, alone
from pixelmill.store.durable import sync_folder
from pixelmill.store.erase_ledger import erase_from_ledger, level, written_anew
from pixelmill.store.extents import Extent
from pixelmill.store.forgotten import Rows, identities
from pixelmill.store.ledger_repair import SCRATCH
from pixelmill.store.lock import PATIENCE
from pixelmill.store.manifest import Manifest, Part
from pixelmill.store.master import PARTS, publish
from pixelmill.store.packs import Moves, packs, relinked, write_pack
from pixelmill.store.reader import Store
from pixelmill.store.remains import parts_with_more, remains
from pixelmill.store.schema import LEDGER

_TURNS: Final = 10


def erase(writer: StoreWriter, rows: Rows) -> None:
    """Let ascending rows hold nothing: no vector, path, source, size, sha256 or value of a column is left of them in
    any file of the store that parts, master and ledger are made of.

    Every part that holds some of them, or bytes that nobody reads any more, is written anew without; replaced parts,
    also those kept for readers of older snapshots, are deleted. To do it again changes nothing. Raises StoreDamaged,
    with nothing erased, where a part is damaged; StoreBusy where others do not let it come to its end.
    """
    with alone(writer.folder, PATIENCE) as is_alone:
        if not is_alone:
            raise StoreBusy(
                f"Expected a turn to write the parts of {writer.folder} anew within {PATIENCE} s. Another process "
                "merges them: wait until that has finished, and run again."
            )
        erase_from_ledger(writer.ledger, writer.snapshot(), rows)
        for _ in range(_TURNS):
            store = writer.snapshot()
            holding = parts_with_more(store.manifest) | {found.extent.part for found in remains(store, rows)}
            if not holding:
                break
            _write_without(writer, store, rows, holding)
        else:
            raise StoreBusy(f"Expected the parts of {writer.folder} to stay as they are. Others write. Run again.")
        writer.in_turn(partial(_without_remnants, writer, rows))
    written_anew(writer.ledger)


def _write_without(writer: StoreWriter, store: Store, rows: Rows, holding: set[str]) -> None:
    for name in sorted(holding):
        store.parts.require_sound(_first(store.manifest, name))
    written: list[tuple[Part, Moves]] = []
    parts: list[Part] = []
    with writer.discarding(parts):
        for pack in packs(store.manifest, holding, TARGET_BYTES):
            written.append(write_pack(store, pack, partial(_blanked, store.manifest, rows)))
            parts.append(written[-1][0])
        writer.in_turn(partial(_published, writer, rows, written))


def _first(manifest: Manifest, part: str) -> Extent:
    return next(extent for _, extents in manifest.datasets() for extent in extents if extent.part == part)


def _blanked(manifest: Manifest, rows: Rows, name: str, extents: Sequence[Extent], values: Values) -> Values:
    """A dataset with nothing in `rows`."""
    numbers = np.concatenate([np.arange(extent.row, extent.end) for extent in extents])
    at = np.flatnonzero(np.isin(numbers, rows))
    if not len(at):
        return values
    if not isinstance(values, np.ndarray):
        blank = set(at.tolist())
        return [b"" if i in blank else value for i, value in enumerate(values)]
    values[at] = identities(numbers[at]) if name == "images/sha256" else _nothing(manifest, name)
    return values


def _nothing(manifest: Manifest, name: str) -> float | bytes:
    """What stands in a dataset of numbers where a row has none."""
    columns = {dataset: column for group in manifest.columns for dataset, column in group.datasets()}
    if column := columns.get(name):
        return column.missing
    return np.nan if name in {matrix.vectors for matrix in manifest.matrices} else 0


def _published(writer: StoreWriter, rows: Rows, written: Sequence[tuple[Part, Moves]], manifest: Manifest) -> None:
    """Let rows be read from new parts where they lie still where they were read from; what others have written
    meanwhile is looked at in the next turn."""
    for part, moves in written:
        if (writer.folder / PARTS / part.file).exists():
            manifest = relinked(manifest, part, moves) or manifest
    _publish_lean(writer, rows, manifest)


def _publish_lean(writer: StoreWriter, rows: Rows, manifest: Manifest) -> Manifest:
    """Publish a manifest without any part that it does not use, then have the ledger say the same."""
    used = manifest.used_parts()
    parts = {name: part for name, part in manifest.parts.items() if name in used}
    published = publish(writer.folder, manifest.model_copy(update={"parts": parts, "retired": ()}))
    level(writer.ledger, Store(writer.folder, published), rows)
    return published


def _without_remnants(writer: StoreWriter, rows: Rows, manifest: Manifest) -> None:
    """Delete every part that is not in use, and what writers left that died."""
    if manifest.retired or manifest.parts.keys() != manifest.used_parts():
        manifest = _publish_lean(writer, rows, manifest)
    for file in (writer.folder / PARTS).iterdir():
        if file.name not in manifest.parts:
            file.unlink(missing_ok=True)
    sync_folder(writer.folder / PARTS)
    _sweep(writer.folder)


def _sweep(folder: Path) -> None:
    """Delete copies of the ledger that were being made."""
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    for file in folder.glob(f".{LEDGER}*.tmp*"):
        file.unlink(missing_ok=True)
    sync_folder(folder)

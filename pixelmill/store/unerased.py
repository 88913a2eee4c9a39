"""Is what was forgotten erased? What of a store may hold some of it still, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from pixelmill.errors import StoreDamaged
from pixelmill.formatting import number_of
from pixelmill.store.damage import Damage
from pixelmill.store.forgotten import FILE, Rows, ends, forgotten, on_record, ranges
from pixelmill.store.master import PARTS
from pixelmill.store.reader import Store
from pixelmill.store.readonly import ledger_of
from pixelmill.store.remains import remains
from pixelmill.store.schema import LEDGER
from pixelmill.store.sqlite_errors import LedgerDamaged

_SHOWN = 100


def unerased(store: Store) -> Iterator[Damage]:
    """Whatever is left of rows that were forgotten, or may be: in the parts of a snapshot, in files that no snapshot
    names, in the ledger, and what is on record as not done."""
    yield from (*_in_parts(store), *_in_ledger(store), *_undone(store))


def forgotten_rows(store: Store) -> Rows:
    """The rows of a snapshot that were forgotten, ascending."""
    return np.flatnonzero(forgotten(store))


def _in_parts(store: Store) -> Iterator[Damage]:
    """What the parts of a snapshot still hold of rows that were forgotten."""
    for names, extent, rows in remains(store, forgotten_rows(store)):
        told = "row that was forgotten holds", "rows that were forgotten hold"
        what = f"{number_of(len(rows), *told)} something; {ends(store.folder)}"
        yield Damage(f"{PARTS}/{extent.part}", what, " and ".join(names), ranges(rows[:_SHOWN]), is_sound=True)


def _undone(store: Store) -> Iterator[Damage]:
    """What of forgetting is on record as not done, and files from before the last time that no snapshot names."""
    try:
        forgetting = on_record(store.folder)
    except StoreDamaged as error:
        yield Damage(FILE, str(error), is_sound=True)
        return
    for what in forgetting.told(store.folder):
        yield Damage(FILE, what, is_sound=True)
    named = {*store.manifest.parts, *(retired.file for retired in store.manifest.retired)}
    old = {retired.file for retired in store.manifest.retired if retired.at < forgetting.erased_at}
    for file in sorted((store.folder / PARTS).iterdir()) if forgetting.erased_at else ():
        if file.name in old or (file.name not in named and _made(file) < forgetting.erased_at):
            what = "is from before rows were forgotten, is not in use, and may hold some of them"
            yield Damage(f"{PARTS}/{file.name}", f"{what}; {ends(store.folder)}", is_sound=True)


def _in_ledger(store: Store) -> Iterator[Damage]:
    """What the ledger still has of rows that were forgotten."""
    rows = forgotten_rows(store).tolist()
    with suppress(LedgerDamaged), ledger_of(store.folder) as ledger:
        if ledger and rows and (found := ledger.contents.with_files(rows)):
            told = "row that was forgotten is", "rows that were forgotten are"
            yield Damage(LEDGER, f"{number_of(found, *told)} on record with files; {ends(store.folder)}", is_sound=True)


def _made(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return np.inf

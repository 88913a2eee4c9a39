"""The folder that a store is backed up to: empty, or an earlier backup. Anything else is refused and left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.durable import write_durably
from pixelmill.store.forgotten import are_forgotten
from pixelmill.store.labels import FOLDER as LABELS
from pixelmill.store.lock import LOCK
from pixelmill.store.manifest import Manifest
from pixelmill.store.master import MANIFEST_COPY, MASTER, PARTS, read_manifest
from pixelmill.store.newer import refuse_newer
from pixelmill.store.reader import Store
from pixelmill.store.schema import LEDGER

MARK = "backup.json"
"""Says of which snapshots a folder is a backup, or becomes one: a store that has gone on by itself is none."""
_Stamp = list[object]


def refuse_overlap(folder: Path, target: Path) -> None:
    ours, theirs = folder.resolve(), target.resolve()
    if ours == theirs or ours in theirs.parents:
        raise StoreError(f"Expected a folder outside of the store {folder} to back it up to. Got {target}.")


def earlier_backup(target: Path, store: Store) -> Manifest | None:
    """The snapshot of which `target` is a backup; None for a folder that is empty, or not there. Raises StoreError for
    one that holds anything else, be it a store that has gone on by itself."""
    if not os.path.lexists(target):
        return None
    if not target.is_dir() or (target / MASTER).is_symlink():
        raise StoreError(f"Expected a folder to back {store.folder} up to. Got {target}, which is none.")
    named = _marked(target)
    if not (target / MASTER).exists():
        if others := sorted(_strange(target, begun=bool(named))):
            raise StoreError(
                f"Expected {target} to be empty, or an earlier backup of {store.folder}. It holds {others[0]!r}: name "
                "another folder."
            )
        return None
    refuse_newer(target)
    found = read_manifest(target)
    if found.store_id != store.manifest.store_id:
        raise StoreError(
            f"Expected in {target} an earlier backup of {store.folder}. Found another store: name another folder."
        )
    if _stamp(found) not in named:
        raise StoreError(
            f"Expected in {target} an earlier backup of {store.folder}. Found a store that has gone on by itself "
            f"(revision {found.revision} of {found.published_at}): what it holds would be lost. Name another folder, "
            "or move that one away."
        )
    if found.revision > store.manifest.revision or not _continues(store, Store(target, found)):
        raise StoreError(
            f"Expected in {target} an earlier backup of {store.folder}. It holds what {store.folder} does not, as "
            f"revision {found.revision} of {found.published_at}: was the store put back since? Name another folder."
        )
    return found


def _strange(target: Path, *, begun: bool) -> set[str]:
    """What is in a folder that a new file system, or a first backup that was cut off, has not made."""
    allowed = {LOCK, "lost+found", *((MARK, MANIFEST_COPY, LEDGER, PARTS, LABELS) if begun else ())}
    found = {name for name in names_in(target) - allowed if not (name.startswith(".") and ".tmp" in name)}
    return found - {PARTS} if PARTS in found and not names_in(target / PARTS) else found


def _continues(store: Store, earlier: Store) -> bool:
    """Whether the rows of `earlier` are the first rows of `store`, but for those that were forgotten since."""
    if len(earlier) > len(store):
        return False
    try:
        now = store.sha256(0, len(earlier))
        return bool(((earlier.sha256() == now).all(axis=1) | are_forgotten(now)).all())
    except StoreDamaged:
        return True  # what `earlier` lacks is copied, what `store` lacks is told then


def _marked(target: Path) -> list[_Stamp]:
    try:
        found = json.loads((target / MARK).read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def mark(target: Path, *manifests: Manifest) -> None:
    write_durably(target / MARK, json.dumps([_stamp(manifest) for manifest in manifests]).encode())


def _stamp(manifest: Manifest) -> _Stamp:
    return [manifest.store_id, manifest.revision, manifest.published_at]


def names_in(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}

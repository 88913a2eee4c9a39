"""A store that is not there yet: its folder, and its first snapshot, which has no rows."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from pixelmill.errors import StoreError
from pixelmill.store.durable import BLOCK, FULL, make_folder_durably, no_space
from pixelmill.store.manifest import Manifest
from pixelmill.store.master import MASTER, PARTS, publish
from pixelmill.store.revisions import PublishedMeanwhile
from pixelmill.store.schema import LEDGER


def is_missing(folder: Path) -> bool:
    """Whether there is no store in a folder, nor anything that was one: a master, parts, a ledger."""
    return not any(os.path.lexists(folder / name) for name in (MASTER, PARTS, LEDGER))


def make_folder(folder: Path) -> None:
    """Make the folder of a store and of its parts. Raises StoreError where that cannot be done."""
    try:
        make_folder_durably(folder / PARTS)
    except OSError as error:
        if error.errno in FULL:
            raise no_space(folder / PARTS, BLOCK) from error
        raise StoreError(
            f"Expected a folder to write the store into. {folder} cannot be made: {error.strerror}."
        ) from error


def make_store(folder: Path) -> None:
    """Publish a store without rows."""
    with suppress(PublishedMeanwhile):  # another machine has made it
        publish(folder, Manifest(store_id=uuid.uuid4().hex))


def refuse_foreign_parts(folder: Path) -> None:
    """Raise StoreError where parts lie without a master: a new store would know nothing of them."""
    if any((folder / PARTS).glob("*.h5")):
        raise StoreError(
            f"{folder} has part files but no {MASTER}. Run `pixelmill repair {folder}` to get their rows "
            "back, or name another --store."
        )

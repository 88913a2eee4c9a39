"""A store that a newer program has written is left alone, wherever that shows: master, manifest's copy or ledger."""

from __future__ import annotations

from pathlib import Path

from pixelmill.errors import StoreDamaged
from pixelmill.store.durable import refused
from pixelmill.store.master import MASTER, read_manifest, read_manifest_copy
from pixelmill.store.schema import LEDGER, SCHEMA_VERSION, too_new

_USER_VERSION, _APPLICATION_ID = slice(60, 64), slice(68, 72)
"""Where an SQLite file keeps `PRAGMA user_version` and `application_id` (sqlite.org/fileformat2.html, 1.3)."""


def refuse_newer(folder: Path) -> None:
    """Raise StoreTooNew, having touched nothing, if any file of the store is of a newer format than this program's."""
    try:
        if (folder / MASTER).is_file():
            read_manifest(folder)
    except StoreDamaged:
        pass  # not this check's to tell
    read_manifest_copy(folder)
    _refuse_newer_ledger(folder / LEDGER)


def _refuse_newer_ledger(path: Path) -> None:
    """By the file's header, without SQLite, which would make files beside it."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise refused(path, error) from error
    version, made_by = (int.from_bytes(header[where], "big") for where in (_USER_VERSION, _APPLICATION_ID))
    if header.startswith(b"SQLite format 3\0") and version > SCHEMA_VERSION:
        raise too_new(path, version, made_by)

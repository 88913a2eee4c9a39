"""Rows erased from a ledger: their files, what came with these, what was refused, and their names in old reports."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Final, NamedTuple

from pixelmill.errors import StoreBusy
from pixelmill.store import said
from pixelmill.store.database import Database
from pixelmill.store.forgotten import FILE, FORGOTTEN, Rows, forgotten_of, identities, on_record
from pixelmill.store.ledger import Ledger
from pixelmill.store.lock import PATIENCE
from pixelmill.store.reader import Store
from pixelmill.store.scans import under

_OF_FOLDERS: Final = frozenset({"folders", "sources", "unreadable", "store"})
"""What reports say of folders, not of pictures."""
_ROWS: Final = "(SELECT value FROM json_each(:rows))"
_PATHS: Final = f"(SELECT path FROM files WHERE row IN {_ROWS} UNION SELECT path FROM held WHERE row IN {_ROWS})"  # noqa: S608
_ERASED: Final = (
    f"quarantine WHERE row IN {_ROWS} OR path IN {_PATHS}",
    f"files WHERE path IN {_PATHS}",
    "quarantine WHERE row IS NULL AND path NOT IN (SELECT path FROM files)",
    "seen WHERE path NOT IN (SELECT path FROM files)",
    "work WHERE path NOT IN (SELECT path FROM files)",
    f"stale WHERE row IN {_ROWS}",
    f"gone_since WHERE row IN {_ROWS}",
)
"""What is deleted, in this order: lists of scans may name files that went long ago. A trigger takes `held` along."""
_LOOK: Final = 0.1


class Names(NamedTuple):
    """The paths below their sources that are known of pictures, and the sources that they are or were in."""

    paths: frozenset[str]
    sources: frozenset[str]


class _Named(NamedTuple):
    source: bytes
    path: bytes


def erase_from_ledger(ledger: Ledger, store: Store, rows: Rows) -> None:
    """Let a ledger know nothing of the pictures of ascending `rows` but that there are such rows. Files of theirs that
    are still there count as new for the next scan."""
    db, told = ledger.database, json.dumps(rows.tolist())
    with ledger.transaction():
        names = _names(db, store, rows, told)
        for which in _ERASED:
            db.write(f"DELETE FROM {which}", {"rows": told} if ":rows" in which else ())  # noqa: S608 - constants
        _erase_companions(db)
        _erase_archives(db)
        _erase_names(db, names)


def level(ledger: Ledger, store: Store, rows: Rows) -> None:
    """Let a ledger have forgotten what the store has, of these ascending rows: whoever forgot them may have died before
    he came to that."""
    if len(done := forgotten_of(store, rows)):
        ledger.contents.replace(zip((one.tobytes() for one in identities(done)), done.tolist(), strict=True))


def level_with(ledger: Ledger, store: Store) -> None:
    """Bring a ledger level with a snapshot, also with what it has forgotten, for whoever holds the store's lock."""
    if (store.folder / FILE).exists() and len(rows := on_record(store.folder).numbers):
        level(ledger, store, rows[rows < len(store)])
    ledger.catch_up(store)


def written_anew(ledger: Ledger) -> None:
    """Let nothing of what was deleted be left in the free pages of a ledger, nor in its log. Raises StoreBusy where
    somebody reads an older state of it for too long."""
    ledger.database.write("VACUUM")
    deadline = time.monotonic() + PATIENCE
    while any(busy for busy, *_ in ledger.database.cells("PRAGMA wal_checkpoint(TRUNCATE)")):
        if time.monotonic() > deadline:
            raise StoreBusy(
                f"Expected to empty the log of {ledger.path}. Another program has been reading the ledger for "
                f"{PATIENCE} s: end it, and run again."
            )
        time.sleep(_LOOK)


def _names(db: Database, store: Store, rows: Rows, told: str) -> Names:
    query = f"SELECT source, path FROM files WHERE path IN {_PATHS}"  # noqa: S608 - constants
    files = list(db.read(_Named, query, {"rows": told}))
    published = [store.location(row) for row in rows.tolist()]
    paths = (
        *(path.removeprefix(source).lstrip(b"/") or path for source, path in files),
        *(path for _, path in published),
    )
    sources = {source.rstrip(b"/") for source, _ in (*files, *published)}
    return Names(frozenset(map(os.fsdecode, filter(None, paths))), frozenset(map(os.fsdecode, filter(None, sources))))


def _erase_companions(db: Database) -> None:
    """Forget what came with pictures of which none is on record any more."""
    lonely = [
        (path,)
        for path, key, kind in db.cells("SELECT path, key, kind FROM beside")
        if not any(True for _ in said.images_of(db, key, kind))  # type: ignore[arg-type]
    ]
    for table in ("said", "beside"):
        db.write_all(f"DELETE FROM {table} WHERE path = ?", lonely)  # noqa: S608 - constants


def _erase_archives(db: Database) -> None:
    """Forget archives of which no member is on record any more."""
    for (path,) in list(db.cells("SELECT path FROM archives")):
        between = under(os.fsdecode(path))  # type: ignore[arg-type]
        if not db.number("SELECT EXISTS (SELECT 1 FROM files WHERE path >= ? AND path < ?)", *between):
            db.write("DELETE FROM archives WHERE path = ?", (path,))


def _erase_names(db: Database, names: Names) -> None:
    """Put a word in place of every text that names one of the pictures, in what is kept of runs."""
    for table, key, text, which in (
        ("runs", "rowid", "report", "report IS NOT NULL"), ("meta", "key", "value", "key LIKE 'begun %'"),
    ):  # fmt: skip
        for at, kept in list(db.cells(f"SELECT {key}, {text} FROM {table} WHERE {which}")):  # noqa: S608 - constants
            if (clean := _without(db, str(kept), names)) is not None:
                db.write(f"UPDATE {table} SET {text} = ? WHERE {key} = ?", (clean, at))  # noqa: S608
    db.write("DELETE FROM meta WHERE key = 'rehashed'")


def _without(db: Database, text: str, names: Names) -> str | None:
    """A text in JSON without some names; None where it has none of them, or makes no sense."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    plain = json.dumps(value, ensure_ascii=False)
    found = names._replace(paths=frozenset(n for n in names.paths if json.dumps(n, ensure_ascii=False)[1:-1] in plain))
    clean = _blanked(db, value, found)
    return json.dumps(clean) if clean != value else None


def _blanked(db: Database, value: Any, names: Names) -> Any:
    """A value with a word in place of every text that names one of the pictures, or may."""
    if isinstance(value, str):
        return FORGOTTEN if _may_name(db, value, names) else value
    if isinstance(value, list):
        return [_blanked(db, one, names) for one in value]
    if isinstance(value, dict):
        return {
            _blanked(db, key, names): one if key in _OF_FOLDERS else _blanked(db, one, names)
            for key, one in value.items()
        }
    return value


def _may_name(db: Database, text: str, names: Names) -> bool:
    """Whether a text names one of the pictures: by what is known of their paths, or by a path in one of their sources
    that is nobody's any more, which one of them may have had."""
    if text in names.paths or any(f"/{path}" in text for path in names.paths):
        return True
    places = (text[at.start() :] for source in names.sources for at in re.finditer(re.escape(f"{source}/"), text))
    return not all(_is_on_record(db, os.fsencode(place)) for place in places)


def _is_on_record(db: Database, text: bytes) -> bool:
    """Whether a text begins with the path of a file that is on record, or of what came with one."""
    nearest = (
        path for table in ("files", "beside")
        for (path,) in db.cells(f"SELECT path FROM {table} WHERE path <= ? ORDER BY path DESC LIMIT 1", (text,))  # noqa: S608
    )  # fmt: skip
    return any(isinstance(path, bytes) and text.startswith(path) for path in nearest)

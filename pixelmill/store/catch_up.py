"""A ledger brought level with a snapshot of its store, from which its rows can be had again."""

from __future__ import annotations

import os

from pixelmill.errors import StoreDamaged
from pixelmill.store.contents import Contents, rows_of_others
from pixelmill.store.database import Database
from pixelmill.store.holders import ADOPTED_AT_ONCE
from pixelmill.store.reader import Store
from pixelmill.store.runs import Runs

_TABLES = (
    "rows", "files", "quarantine", "meta", "seen", "work", "stale", "archives", "held", "runs", "beside", "said",
    "gone_since",
)  # fmt: skip
_ANEW = "It was made anew from the master, and one run reads every file once to recognise it."


def belongs_to(db: Database, store: Store) -> bool:
    """Whether a ledger is that of `store`, and no other's."""
    return db.meta("store_id") == store.manifest.store_id


def catch_up(db: Database, contents: Contents, runs: Runs, store: Store) -> None:
    """Bring the index level with a snapshot: after a crash before the ledger, a loss, or a restored backup. Where
    it was not only behind, that is told by the next report (`Runs.notice`)."""
    known = contents.row_count()
    if belongs_to(db, store) and _agrees(db, contents, store, known):
        if known < len(store):
            with db.transaction():
                _adopt(db, contents, store, known)
        return
    with db.transaction():
        if known and _shares(db, store):
            _replace_rows(db, contents, store)
            runs.notify(f"{db.path} did not fit the store: one of them was put back from a backup. {_ANEW}")
            return
        for table in _TABLES:
            db.write(f"DELETE FROM {table}")  # noqa: S608 - constants
        _begin(db, contents, store)
        if known:
            runs.notify(f"{db.path} was the ledger of another store. {_ANEW}")


def _begin(db: Database, contents: Contents, store: Store) -> None:
    """Take over all rows of a store."""
    db.set_meta("store_id", store.manifest.store_id)
    db.set_meta("settled_rows", len(store))
    db.set_meta("rows", 0)
    _adopt(db, contents, store, 0)


def _agrees(db: Database, contents: Contents, store: Store, known: int) -> bool:
    """Whether the rows on record are rows of `store`. Where there are as many, the last one tells; where the
    ledger is behind, which is rare, all are compared: it may come from a backup that is of another branch."""
    if known > len(store):
        return False
    try:
        if known < len(store):
            return rows_of_others(contents.known(), store.sha256()) == 0
        return known == 0 or contents.row_of(store.sha256(known - 1, known)[0].tobytes()) == known - 1
    except StoreDamaged:
        return True  # not this check's to tell


def _shares(db: Database, store: Store) -> bool:
    """Whether a store holds any of the contents on record."""
    try:
        stored = {content.tobytes() for content in store.sha256()}
    except StoreDamaged:
        return belongs_to(db, store)
    return any(content in stored for (content,) in db.cells("SELECT sha256 FROM rows"))


def _replace_rows(db: Database, contents: Contents, store: Store) -> None:
    """Give each content on record the row that it has in `store`. Which file holds what is to be read again; what
    was refused before its content was known stays so while it does not change."""
    db.write(
        "CREATE TEMP TABLE refused AS SELECT sha256, path, fingerprint, model, stage, reason, since "
        "FROM quarantine JOIN rows USING (row)"
    )
    for which in (
        "quarantine WHERE row IS NOT NULL",
        "files WHERE row IS NOT NULL OR gone",
        "rows",
        "stale",
        "held",
        "gone_since",
    ):
        db.write(f"DELETE FROM {which}")  # noqa: S608 - constants
    db.write("UPDATE files SET previous_row = NULL")
    _begin(db, contents, store)
    db.write(
        "INSERT OR IGNORE INTO quarantine SELECT row, path, fingerprint, model, stage, reason, since "
        "FROM temp.refused JOIN rows USING (sha256)"
    )
    db.write("DROP TABLE temp.refused")


def _adopt(db: Database, contents: Contents, store: Store, known: int) -> None:
    for start in range(known, len(store), ADOPTED_AT_ONCE):
        _adopt_rows(db, contents, store, start, min(start + ADOPTED_AT_ONCE, len(store)))


def _adopt_rows(db: Database, contents: Contents, store: Store, start: int, stop: int) -> None:
    contents.record_rows((sha.tobytes(), start + i) for i, sha in enumerate(store.sha256(start, stop)))
    sources, paths = (store.texts(name, start, stop) for name in ("images/source", "images/path"))
    located = [
        (os.path.join(source, path), source, start + i)  # noqa: PTH118 - bytes, which pathlib does not take
        for i, (source, path) in enumerate(zip(sources, paths, strict=True))
        if path
    ]
    # A path on record may have changed since: the next run reads it, and finds its content stored. One that is not
    # on record gets no size and times, so that the next scan finds it changed.
    db.write_all("INSERT INTO files (path, source, row, unsettled) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING", located)
    db.write_all("INSERT OR REPLACE INTO stale SELECT row, 1 FROM held WHERE path = ?", ((p,) for p, *_ in located))
    # Such a path waits to be read; until then it is where the row may be.
    db.write_all(
        "INSERT OR REPLACE INTO held SELECT path, ?2 FROM files WHERE path = ?1 AND row IS NULL",
        ((path, row) for path, _, row in located),
    )
    db.write_all("INSERT OR REPLACE INTO stale VALUES (?, 1)", ((row,) for row in range(start, stop)))

"""A damaged ledger made anew: rows and paths from the master, all else from what can still be read of the old one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pixelmill.batches import batched
from pixelmill.errors import StoreError
from pixelmill.formatting import number_of
from pixelmill.store.database import MOST, Database, connect
from pixelmill.store.durable import FULL, no_space, sync_folder
from pixelmill.store.ledger import Ledger
from pixelmill.store.ledger_check import BadCells, Findings, add_functions
from pixelmill.store.lock import unwritable
from pixelmill.store.reader import Store
from pixelmill.store.schema import LEDGER, expected_schema
from pixelmill.store.sqlite_errors import LedgerDamaged

SCRATCH = ".ledger.repair"


class _Table(NamedTuple):
    """What is taken over of a table: these columns of those rows; `key` is the order in which they lie."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    which: str = "1"


# Files come without their rows, so that each is read once more; until then they may hold what they held.
_CARRIED = (
    _Table("files", ("path", "source", "size", "mtime_ns", "ctime_ns", "unsettled"), ("path",), "NOT gone"),
    _Table("seen", ("scan", "path"), ("scan", "path")),
    _Table("work", ("scan", "position", "path"), ("scan", "position")),
    _Table(
        "beside",
        ("path", "source", "key", "kind", "size", "mtime_ns", "ctime_ns", "unread", "unsettled", "gone"),
        ("path",),
    ),
    _Table("said", ("path", "origin", "said", "problem"), ("path",)),
    _Table("runs", ("id", "started", "finished", "report"), ("rowid",)),
    _Table(
        "meta",
        ("key", "value"),
        ("key",),
        f"key = 'scan' AND typeof(value) = 'integer' AND value BETWEEN 0 AND {MOST - 1} OR key LIKE 'checks %'",
    ),
)
_HELD = (
    _Table("files", ("path", "row"), ("path",), "row >= 0 AND NOT gone"),
    _Table("held", ("path", "row"), ("path",)),
)
_GONE = _Table("gone_since", ("row", "since"), ("row",), "row >= 0")
_REFUSED = _Table(
    "quarantine", ("row", "path", "fingerprint", "model", "stage", "reason", "since"), ("rowid",), "row IS NULL"
)
_BUT = {"rows": " AND 0", "meta": " AND key LIKE 'checks %'"}
"""What is not to be dropped of a table."""
_ROWS = _Table("rows", ("sha256", "row"), ("sha256",))


def mend(folder: Path, store: Store, findings: Findings) -> Iterator[str]:
    """Repair the ledger of `store`, of which `findings` says what is wrong; what was done, in words."""
    if findings.structure:
        yield from _made_anew(folder, store)
    elif findings.cells:
        try:
            with Ledger(folder) as ledger:
                dropped = _put_cells_right(ledger.database, findings.cells)
                wrong = [*ledger.check(), *ledger.compare(lambda: store)]  # it was not compared while it had such cells
        except LedgerDamaged as error:
            dropped, wrong = 0, [str(error)]
        if wrong:
            yield from _made_anew(folder, store)
            return
        yield from (f"mended the ledger: {bad}" for bad in findings.cells)
        if dropped:
            yield f"dropped {number_of(dropped, 'row')} of these that made no sense"


def _made_anew(folder: Path, store: Store) -> Iterator[str]:
    scratch, ledger = folder / SCRATCH, folder / LEDGER
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        kept = _remade(ledger, scratch, store)
        for suffix in ("-wal", "-shm"):  # first, or SQLite would take them for the new one's
            ledger.with_name(LEDGER + suffix).unlink(missing_ok=True)
        (scratch / LEDGER).replace(ledger)
        sync_folder(folder)
    except StoreError:
        raise
    except OSError as error:
        needed = 2 * ledger.stat().st_size if ledger.exists() else 0
        raise (no_space(ledger, needed) if error.errno in FULL else unwritable(folder, error)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    yield "rebuilt the ledger; the next run reads every file once to recognise it"
    yield kept


def _remade(old: Path, scratch: Path, store: Store) -> str:
    """A ledger of `store` in `scratch`, with what could be kept of the old one; what that is, in words."""
    with Ledger(scratch) as fresh:
        fresh.catch_up(store)
        with _opened(old, scratch) as damaged:
            if damaged:
                _carry_over(damaged, fresh.database, store)
        _put_cells_right(fresh.database, fresh.check().cells)
        _take_up(fresh.database)
        reports, entries = (fresh.database.number(f"SELECT count(*) FROM {name}") for name in ("runs", "quarantine"))  # noqa: S608
        return (
            f"kept {number_of(reports, 'report')} of earlier runs and "
            f"{number_of(entries, 'entry', 'entries')} of the quarantine"
        )


def _carry_over(damaged: sqlite3.Connection, fresh: Database, store: Store) -> None:
    alike, others = _compared(damaged, store)
    if not alike and (others or _store_id(damaged) != store.manifest.store_id):
        return  # another store's
    for table in _CARRIED:
        _copy(fresh, table.name, table.columns, _legible(damaged, table))
    # A row's number stays its own, unless the ledger is of another branch of the store's history.
    for table in () if others else _HELD:
        within = table._replace(which=f"{table.which} AND row < {len(store)}")
        _copy(fresh, "held", table.columns, _legible(damaged, within))
    if not others:
        _copy(fresh, _GONE.name, _GONE.columns, _legible(damaged, _GONE))
    refused = _REFUSED if others else _REFUSED._replace(which=f"row IS NULL OR row < {len(store)}")
    _copy(fresh, refused.name, refused.columns, _legible(damaged, refused))


def _copy(fresh: Database, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Take rows of a table from a ledger that cannot be used any more, but for those that are there already."""
    values = f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    for some in batched(rows, 10_000):
        with fresh.transaction():
            fresh.write_all(f"INSERT OR IGNORE INTO {table} {values}", some)


def _take_up(fresh: Database) -> None:
    """Let the next scan have a number that no list of an earlier one has, and believe what a file held only of those
    that wait to be read."""
    fresh.write("DELETE FROM held WHERE path NOT IN (SELECT path FROM files WHERE row IS NULL)")
    last = fresh.number("SELECT ifnull(max(scan), 0) FROM seen")
    fresh.set_meta("scan", max(fresh.meta_number("scan"), last))


def _put_cells_right(db: Database, cells: Iterable[BadCells]) -> int:
    """Put bytes of texts that are none right, and drop rows that make no sense all the same, where the ledger can do
    without; how many these were. Rows of the store that no file holds for it any more are looked after by the next
    run."""
    dropped = 0
    with db.transaction():
        add_functions(db.connection)
        for bad in cells:
            for column in bad.texts:
                db.write(
                    f"UPDATE OR IGNORE {bad.table} SET {column} = as_utf8(CAST({column} AS BLOB)) "  # noqa: S608 - ours
                    f"WHERE typeof({column}) = 'text' AND NOT is_utf8(CAST({column} AS BLOB))"
                )
            dropped += db.write(f"DELETE FROM {bad.table} WHERE ({bad.which}){_BUT.get(bad.table, '')}")  # noqa: S608
            if bad.table in ("beside", "said"):  # read again: archives are listed, and what lacks its values is read
                db.write("DELETE FROM archives")
                db.write("UPDATE beside SET unread = 1 WHERE path NOT IN (SELECT path FROM said)")
            if bad.table == "files":
                db.write(
                    "INSERT OR IGNORE INTO stale SELECT row, 1 FROM rows WHERE row NOT IN "
                    "(SELECT row FROM files WHERE row IS NOT NULL) AND typeof(row) = 'integer'"
                )
    return dropped


def _compared(damaged: sqlite3.Connection, store: Store) -> tuple[int, int]:
    """How many of the contents on record have the same row in `store`, and how many do not."""
    contents, alike, others = store.sha256(), 0, 0
    for sha256, row in _legible(damaged, _ROWS):
        same = isinstance(row, int) and 0 <= row < len(contents) and contents[row].tobytes() == sha256
        alike, others = alike + same, others + (not same)
    return alike, others


def _store_id(damaged: sqlite3.Connection) -> object:
    with suppress(sqlite3.Error):
        found = damaged.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
        return found[0] if found else None
    return None


def _legible(damaged: sqlite3.Connection, table: _Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table from its first one to where it is damaged, and from its last one back to there."""
    query = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {table.which} ORDER BY "  # noqa: S608 - constants
    for direction in ("ASC", "DESC"):
        try:
            yield from damaged.execute(query + ", ".join(f"{column} {direction}" for column in table.key))
            return
        except sqlite3.Error:
            continue


@contextmanager
def _opened(old: Path, scratch: Path) -> Iterator[sqlite3.Connection | None]:
    """A copy of a damaged ledger whose tables have their right names and columns again; None if it has none."""
    copy = scratch / "old.sqlite"
    for suffix in ("", "-wal"):
        if old.with_name(old.name + suffix).is_file():
            shutil.copyfile(old.with_name(old.name + suffix), copy.with_name(copy.name + suffix))
    try:
        with closing(connect(copy)) as database:
            _put_schema_right(database)
        opened = connect(copy)
        opened.execute("PRAGMA writable_schema = ON")  # what is still wrong costs its own table, not all
    except sqlite3.Error:
        yield None
        return
    with closing(opened):
        yield opened


def _put_schema_right(database: sqlite3.Connection) -> None:
    """Write the expected texts over those of the tables; a table whose name is damaged is known by what is left of it.
    Indexes and triggers go: a scan of a table needs none, and what they say may be wrong."""
    database.execute("PRAGMA writable_schema = ON")
    entries = "SELECT rowid, name FROM sqlite_master WHERE type NOT IN ('index', 'trigger')"
    found = {str(name): rowid for rowid, name in database.execute(entries)}
    expected = {name: text for (kind, name), text in expected_schema().items() if kind == "table"}
    others = [name for name in found if name not in expected]
    for name, text in expected.items():
        nearest = [name] if name in found else get_close_matches(name, others, n=1, cutoff=0.5)
        for like in nearest:
            values = (name, name, text, found[like])
            database.execute(
                "UPDATE sqlite_master SET type = 'table', name = ?, tbl_name = ?, sql = ? WHERE rowid = ?", values
            )
    database.execute("DELETE FROM sqlite_master WHERE type <> 'table'")

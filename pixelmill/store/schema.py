"""The tables of a ledger: how they are made, told from those of other versions, and found whole."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path

from pixelmill.errors import StoreTooNew
from pixelmill.store.beside import BESIDE, BESIDE_NAMES
from pixelmill.store.database import Database
from pixelmill.store.gone import GONE, GONE_SINCE
from pixelmill.store.holders import HELD, Holders
from pixelmill.store.ledger_check import Schema, pages_shared, schema_made_by, schema_of, wrong_schema
from pixelmill.version import VERSION

log = logging.getLogger(__name__)

LEDGER = "ledger.sqlite"
SCHEMA_VERSION = 1

# A path is absolute, as the bytes of os.fsencode. `row` is NULL until the file's content is known. `previous_row` is
# what the path held when last told (-1: told, content unknown). `unsettled` marks what is not settled, `gone` what the
# last scan did not find, `stale` holds the rows that lost a file, whose published path may have to change. Of these, 1
# is what no run has told yet, and 2 what one has told and will settle: what another run finds meanwhile stays.
# `seen` holds what each scan found, so that runs over the same store at once do not take each other's files for theirs.
# `work` holds what of that is to be embedded, in the order in which it is to be done. `archives` holds what was known
# of each archive when it was listed, and how many images it had: their paths begin with its own. Ledgers from before
# these two get them, and those of what came with images (`beside.py`) and of rows that are gone (`gone.py`).
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE rows (sha256 BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    path BLOB PRIMARY KEY, source BLOB NOT NULL, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    row INTEGER, previous_row INTEGER,
    unsettled INTEGER NOT NULL DEFAULT 1, gone INTEGER NOT NULL DEFAULT 0, scan INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX files_by_row ON files (row);
CREATE INDEX files_unsettled ON files (path) WHERE unsettled;
CREATE INDEX files_gone ON files (path) WHERE gone > 0;
CREATE TABLE seen (scan INTEGER, path BLOB, PRIMARY KEY (scan, path)) WITHOUT ROWID;
CREATE TABLE stale (row INTEGER PRIMARY KEY, told INTEGER NOT NULL DEFAULT 1);
CREATE TABLE quarantine (
    row INTEGER, path BLOB, fingerprint TEXT NOT NULL, model TEXT NOT NULL,
    stage TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL
);
CREATE UNIQUE INDEX quarantine_rows ON quarantine (row, fingerprint) WHERE row IS NOT NULL;
CREATE UNIQUE INDEX quarantine_paths ON quarantine (path) WHERE row IS NULL;
CREATE TABLE runs (id INTEGER PRIMARY KEY, started REAL NOT NULL, finished REAL, report TEXT);
"""
_LATER = (
    """
CREATE TABLE IF NOT EXISTS work (scan INTEGER, position INTEGER, path BLOB, PRIMARY KEY (scan, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS archives (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, tag INTEGER, images INTEGER
) WITHOUT ROWID;
"""
    + BESIDE
    + GONE
)
# No OR REPLACE in a trigger: the conflict clause of the statement that fires it takes its place.
_TRIGGERS = (
    "CREATE TRIGGER row_left AFTER UPDATE OF row, gone ON files "
    "WHEN OLD.row IS NOT NULL AND (NEW.row IS NOT OLD.row OR NEW.gone = 1) "
    "BEGIN DELETE FROM stale WHERE row = OLD.row; INSERT INTO stale VALUES (OLD.row, 1); END",
    "CREATE TRIGGER file_changed AFTER UPDATE OF size, mtime_ns, ctime_ns ON files "
    "WHEN (OLD.size, OLD.mtime_ns, OLD.ctime_ns) IS NOT (NEW.size, NEW.mtime_ns, NEW.ctime_ns) "
    "BEGIN DELETE FROM quarantine WHERE row IS NULL AND path = NEW.path; END",
)
_RUNS = next(statement for statement in _SCHEMA.split(";") if "TABLE runs" in statement)
OPTIONAL = ("work", "archives", GONE_SINCE, *BESIDE_NAMES)
"""Tables that ledgers from before them lack until somebody writes to them; `held` as well, with all that is its own."""


def prepare(db: Database, holders: Holders) -> None:
    """Make what a ledger lacks that is new, or from before some of its tables. Raises StoreError for one that is not
    whole."""
    if refuse_newer_schema(db) == 0:
        with db.transaction():
            if db.number("PRAGMA user_version") == 0:
                for statement in (*_SCHEMA.split(";"), *_TRIGGERS, *HELD):
                    db.write(statement)
                db.write(f"PRAGMA application_id = {_version_number()}")
                db.write(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for statement in _LATER.split(";"):
        db.write(statement)
    if not holders.are_kept:
        with db.transaction():
            holders.keep()
    _require_schema(db)


def refuse_newer_schema(db: Database) -> int:
    """The version of a ledger's schema. Raises StoreTooNew for one that came after this program's."""
    version = db.number("PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise too_new(db.path, version, db.number("PRAGMA application_id"))
    return version


def too_new(path: Path, version: int, made_by: int) -> StoreTooNew:
    """The error for a ledger of a later schema; `made_by` is its `PRAGMA application_id`."""
    program = ".".join(str(made_by >> shift & 0xFF) for shift in (16, 8, 0)) + " or newer" if made_by else "of today"
    return StoreTooNew(
        f"Expected a ledger of version {SCHEMA_VERSION} or older in {path}. Found version {version}: "
        f"install pixelmill {program} to open it. Nothing was touched."
    )


@cache
def expected_schema(*, held: bool = True) -> Schema:
    """What this program makes a ledger of; without `held`, what earlier ones did."""
    return schema_made_by([*_SCHEMA.split(";"), *_TRIGGERS, *_LATER.split(";"), *(HELD if held else ())])


def _require_schema(db: Database) -> None:
    """Refuse a ledger that lacks what keeps it true, as a trigger. Old reports are a nicety: it may do without."""
    with db.in_words():
        found = schema_of(db.connection)
        if ("table", "runs") not in found:
            db.write(_RUNS)
            log.warning("%s had lost its reports of earlier runs: new ones are kept again", db.path)
            found = schema_of(db.connection)
        wrong = [*wrong_schema(found, expected_schema()), *pages_shared(db.connection)]
    if [problem for problem in wrong if "table runs " not in problem]:
        raise db.damaged(", ".join(wrong))


def _version_number() -> int:
    """This program's version as three bytes, which stand in the file's header as its application_id."""
    major, minor, patch = (int(number) for number in re.findall(r"\d+", VERSION)[:3])
    return major << 16 | minor << 8 | patch

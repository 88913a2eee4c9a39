"""Whatever happens to a ledger: verify names it, repair mends it and keeps what can be kept, and no vector is lost."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.sources.companions import Companion
from pixelmill.sources.said import Said
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from pixelmill.store.manifest import Matrix
from pixelmill.store.readonly import open_read_only
from pixelmill.store.rows import Failure
from pixelmill.store.verify import repair, verify
from tests.support.stores import SOURCE, check_plain, file_of, provenance, record_files, sha256, shard_rows

ALL = {sha256(n): {"a": n != 5, "b": n != 5} for n in range(12)}
REPORT = {"store": "s", "sources": {SOURCE: 12}, "notable": ["nothing"]}


@pytest.fixture
def matrices(folder: Path) -> list[Matrix]:
    """A closed store of twelve rows, one of them in quarantine as is a file whose bytes could not be had, two reports."""
    with StoreWriter(folder) as writer:
        made = [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]
        record_files(writer, range(13))
        given = shard_rows(range(12), made, bad=[5])
        given.failures.append(Failure(file_of(12).absolute, None, "read", "too large"))
        writer.commit(given)
        writer.ledger.changes()
        writer.ledger.settle()
        for started in (1.0, 2.0):
            writer.ledger.runs.record(started, {**REPORT, "started": started})
    assert verify(folder) == []
    return made


def change(folder: Path, *statements: str, schema: bool = False) -> None:
    """What others do to the file: `schema` writes to what SQLite says of itself."""
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as database:
        if schema:
            database.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            database.execute(statement)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def spoil_page(folder: Path, table: str) -> None:
    """Garbage where a table begins."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with (folder / "ledger.sqlite").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def kept(folder: Path) -> tuple[int, int]:
    """How many images are in quarantine, and how many reports there are."""
    with open_read_only(folder) as ledger:
        return len(ledger.quarantine.entries()), len([report for report in ledger.runs.last() if report])


CELLS = {
    "a report that is no UTF-8": ("UPDATE runs SET report = CAST(substr(CAST(report AS BLOB), 1, 11) || x'ff' || "
                                  "substr(CAST(report AS BLOB), 13) AS TEXT) WHERE id = 1", (2, 2)),
    "a report that is no JSON": ("UPDATE runs SET report = substr(report, 2) WHERE id = 2", (2, 1)),
    "a report that is a blob": ("UPDATE runs SET report = x'00' WHERE id = 2", (2, 1)),
    "a report that is a list": ("UPDATE runs SET report = '[1]' WHERE id = 2", (2, 1)),
    "a reason that is no UTF-8": ("UPDATE quarantine SET reason = CAST(x'64ff' AS TEXT) WHERE row = 5", (2, 2)),
    "a number for a reason": ("UPDATE quarantine SET reason = 7.5, since = 'x' WHERE row = 5", (1, 2)),
    "a text for a row": ("UPDATE files SET row = 'x' WHERE row = 3", (2, 2)),
    "a text for a path": ("UPDATE files SET path = 'x' WHERE row = 3", (2, 2)),
    "a text for a time": ("UPDATE files SET mtime_ns = 'x' WHERE row = 3", (2, 2)),
    "a blob for a count": ("UPDATE files SET gone = x'01' WHERE row = 3", (2, 2)),
    "a self-check that is no JSON": ("INSERT INTO meta VALUES ('checks f', '{')", (2, 2)),
    "a file of a scan that never was": (f"UPDATE files SET scan = {2**62} WHERE row = 3", (2, 2)),
    "a list of a scan that never was": (f"UPDATE seen SET scan = {2**62}", (2, 2)),
    "a scan that is a text": ("UPDATE meta SET value = 'x' WHERE key = 'scan'", (2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("what", CELLS)
def test_a_damaged_cell_is_named_and_mended(what: str, folder: Path, matrices: list[Matrix]) -> None:
    """A value of the wrong kind, or bytes that are none of a text, are named; the rest of the ledger stays as it is."""
    statement, left = CELLS[what]
    change(folder, statement)
    assert [damage.file for damage in verify(folder)] == ["ledger.sqlite"]
    assert repair(folder).to_embed == {"a": 1, "b": 1}
    assert verify(folder) == []
    assert kept(folder) == left
    check_next_run(folder, matrices)


SCHEMA = {
    "a table dropped": "DROP TABLE seen",
    "the quarantine dropped": "DROP TABLE quarantine",
    "the rows dropped": "DROP TABLE rows",
    "the numbers dropped": "DROP TABLE meta",
    "a table renamed": "ALTER TABLE quarantine RENAME TO qarantine",
    "a column renamed": "ALTER TABLE quarantine RENAME COLUMN reason TO raeson",
    "a column added": "ALTER TABLE seen ADD COLUMN more",
    "what files held dropped": "DROP TABLE held",
    "an index dropped": "DROP INDEX files_unsettled",
    "a trigger dropped": "DROP TRIGGER row_left",
    "a strange trigger": "CREATE TRIGGER t AFTER INSERT ON seen BEGIN DELETE FROM rows; END",
    "a text that is no SQL": "UPDATE sqlite_master SET sql = replace(sql, 'CREATE', 'CRXATE') WHERE name = 'quarantine'",
    "a text of another column": "UPDATE sqlite_master SET sql = replace(sql, 'reason', 'reasom') WHERE name = 'quarantine'",
    "bytes that are no text": "UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT) || sql WHERE name = 'runs'",
    "an index of nothing": "UPDATE sqlite_master SET tbl_name = 'x', sql = NULL WHERE name = 'quarantine_rows'",
    "a page that is not there": "UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'seen'",
    "two tables of one page": "UPDATE sqlite_master SET rootpage = 3 WHERE name = 'seen'",
}
LOST = {"the quarantine dropped": (0, 2)}


@pytest.mark.parametrize("what", SCHEMA)
def test_a_damaged_schema_is_named_and_mended(what: str, folder: Path, matrices: list[Matrix]) -> None:
    """A table, column, index or trigger that is gone, renamed or illegible is named; a writer that would go on without
    says so in words; repair keeps quarantine and reports, unless just these are gone."""
    change(folder, SCHEMA[what], schema="sqlite_master" in SCHEMA[what])
    assert [damage.file for damage in verify(folder)][:1] == ["ledger.sqlite"]
    with pytest.raises(StoreError, match="repair"):
        StoreWriter(folder).close()
    done = repair(folder)
    assert done.to_embed == {"a": 1, "b": 1}
    assert "rebuilt the ledger" in " ".join(done.actions)
    assert verify(folder) == []
    assert kept(folder) == LOST.get(what, (2, 2))
    check_next_run(folder, matrices)


def test_an_index_that_disagrees_is_named_and_mended(folder: Path, matrices: list[Matrix]) -> None:
    """An index that says other than its table does is named, and made anew with the ledger."""
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as database:
        (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'files_by_row'").fetchone()
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX files_by_row ON files (row) WHERE row > 90' "
                         "WHERE name = 'files_by_row'")  # fmt: skip
    with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE files SET row = 11 WHERE row = 3")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'files_by_row'", (sql,))
    assert "files_by_row" in str(verify(folder))
    repair(folder)
    assert verify(folder) == []
    assert kept(folder) == (2, 2)
    check_next_run(folder, matrices)


@pytest.mark.parametrize("table", ["files", "rows", "quarantine", "runs", "meta", "seen"])
def test_a_damaged_page_is_named_and_mended(table: str, folder: Path, matrices: list[Matrix]) -> None:
    """A page of any table that holds garbage costs what lay on it, and no more."""
    spoil_page(folder, table)
    assert [damage.file for damage in verify(folder)] == ["ledger.sqlite"]
    repair(folder)
    assert verify(folder) == []
    quarantined, reports = kept(folder)
    assert quarantined == {"quarantine": 0, "files": 1}.get(table, 2)
    assert reports == (0 if table == "runs" else 2)
    check_next_run(folder, matrices)


@pytest.mark.parametrize("damage", ["DROP TABLE runs", "ALTER TABLE runs RENAME COLUMN report TO told", "page"])
def test_reports_that_are_gone_fail_no_run(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """A run needs no report of an earlier one, and says so when it cannot keep its own."""
    if damage == "page":
        spoil_page(folder, "runs")
    else:
        change(folder, damage)
    assert verify(folder)
    check_next_run(folder, matrices)
    with StoreWriter(folder) as writer:
        assert writer.ledger.runs.last() == []
        assert writer.ledger.runs.record(3.0, REPORT) is damage.startswith("DROP")
    repair(folder)
    assert verify(folder) == []


def check_next_run(folder: Path, matrices: list[Matrix]) -> None:
    """A run that finds every file, and one more, embeds that one and gives no content a second row."""
    with StoreWriter(folder) as writer:
        scan = writer.ledger.scans.begin()
        writer.ledger.scans.record(scan, [file_of(number) for number in range(13)])
        writer.ledger.scans.mark_gone(scan, SOURCE)
        writer.commit(shard_rows(range(12), matrices, bad=[5]))
        writer.update_locations(writer.ledger.changes().stale_rows)
        writer.ledger.settle()
        assert len(writer.snapshot()) == 12
    check_plain(folder, ALL, paths={sha256(n): file_of(n).path for n in range(12)})


def grown(folder: Path, matrices: list[Matrix], numbers: range) -> None:
    with StoreWriter(folder) as writer:
        record_files(writer, [*range(13), *numbers])
        writer.commit(shard_rows(numbers, matrices))
        writer.ledger.changes()
        writer.ledger.settle()


def put_back(copy: Path, folder: Path, *names: str) -> None:
    for name in names:
        if (copy / name).is_dir():
            shutil.rmtree(folder / name)
            shutil.copytree(copy / name, folder / name)
        else:
            shutil.copy(copy / name, folder / name)


@pytest.fixture
def backup(folder: Path, matrices: list[Matrix], tmp_path: Path) -> Path:
    """The store's own files as they were with twelve rows."""
    change(folder)
    return Path(shutil.copytree(folder, tmp_path / "backup"))


def test_an_old_ledger_is_brought_level(folder: Path, matrices: list[Matrix], backup: Path) -> None:
    """Rows of the master that an old ledger does not know are known again, and nothing is embedded twice."""
    grown(folder, matrices, range(20, 24))
    put_back(backup, folder, "ledger.sqlite")
    with StoreWriter(folder) as writer:
        assert writer.ledger.contents.row_count() == 16
        record_files(writer, range(20, 24))
        before = writer.snapshot().manifest
        assert writer.commit(shard_rows(range(20, 24), matrices)).manifest == before
    assert kept(folder) == (2, 2)
    assert verify(folder) == []


def test_an_old_ledger_of_another_branch_hides_no_image(folder: Path, matrices: list[Matrix], backup: Path) -> None:
    """The store was put back and went on otherwise; the ledger of before must not pass its contents off as stored."""
    grown(folder, matrices, range(20, 21))
    change(folder)
    shutil.copy(folder / "ledger.sqlite", backup.parent / "of-before")
    put_back(backup, folder, "vectors.h5", "manifest.json", "revisions", "ledger.sqlite")
    grown(folder, matrices, range(30, 32))
    shutil.copy(backup.parent / "of-before", folder / "ledger.sqlite")
    assert "other images" in str(verify(folder))
    with StoreWriter(folder) as writer:
        assert "backup" in writer.ledger.runs.notice()
        assert writer.ledger.contents.row_of(sha256(20)) is None
        assert {number: writer.ledger.contents.row_of(sha256(number)) for number in (30, 31)} == {30: 12, 31: 13}
        record_files(writer, [20])
        assert [row for file, row in writer.ledger.worklist.images(writer.ledger.scans.begin() - 1)] == [None]
    assert kept(folder) == (2, 2)
    assert verify(folder) == []


def test_a_ledger_ahead_of_the_master_is_brought_level(folder: Path, matrices: list[Matrix], backup: Path) -> None:
    """Master, copy and revisions were put back: what the ledger knows beyond them is to be embedded again, and the report says so;
    quarantine and reports stay."""
    grown(folder, matrices, range(20, 24))
    change(folder)
    put_back(backup, folder, "vectors.h5", "manifest.json", "revisions")
    assert "other images" in str(verify(folder))
    with StoreWriter(folder) as writer:
        assert "backup" in writer.ledger.runs.notice()
        assert writer.ledger.contents.row_count() == 12
        assert writer.ledger.contents.row_of(sha256(20)) is None
        writer.ledger.changes()
        writer.ledger.settle()
        assert writer.ledger.runs.notice() == ""
    assert kept(folder) == (2, 2)
    assert verify(folder) == []
    check_next_run(folder, matrices)


def test_a_wrong_name_of_the_store_loses_nothing(folder: Path, matrices: list[Matrix]) -> None:
    """A ledger whose note of its store is damaged still is this store's, by its contents."""
    change(folder, "UPDATE meta SET value = 'x' || value WHERE key = 'store_id'")
    assert "another store" in str(verify(folder))
    repair(folder)
    assert verify(folder) == []
    assert kept(folder) == (2, 2)


def test_lost_rows_are_noticed(folder: Path, matrices: list[Matrix]) -> None:
    """A content that a ledger has lost without a trace would be stored twice."""
    change(folder, "DELETE FROM rows WHERE row = 3")
    assert "lost count" in str(verify(folder))
    repair(folder)
    assert verify(folder) == []
    check_next_run(folder, matrices)


@pytest.mark.parametrize("count", ["11", "13", "NULL"])
def test_a_wrong_count_of_rows_is_mended(count: str, folder: Path, matrices: list[Matrix]) -> None:
    """A ledger that counts other rows than it has would give new ones wrong numbers."""
    change(folder, f"UPDATE meta SET value = {count} WHERE key = 'rows'")
    assert "ledger.sqlite" in str(verify(folder))
    repair(folder)
    assert verify(folder) == []
    check_next_run(folder, matrices)


def test_a_content_that_is_stored_twice_is_no_lost_row(folder: Path, matrices: list[Matrix]) -> None:
    """What was stored again after the ledger lost its row is told of the store, which has it twice, and of nothing else;
    a row lost besides still is."""
    change(folder, "DELETE FROM rows WHERE row = 3", "DELETE FROM quarantine WHERE row = 3")
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows([3], matrices))
    (told,) = verify(folder)
    assert "1 rows repeat the sha256" in str(told)
    repair(folder)
    assert verify(folder) == [told]
    change(folder, "DELETE FROM rows WHERE row = 7")
    assert [damage.file for damage in verify(folder)] == ["vectors.h5", "ledger.sqlite"]
    repair(folder)
    assert verify(folder) == [told]


def test_a_repair_that_is_cut_off_is_done_again(folder: Path, matrices: list[Matrix]) -> None:
    """What a killed repair left behind is no hindrance."""
    change(folder, "DROP TABLE seen")
    (folder / ".ledger.repair").mkdir()
    (folder / ".ledger.repair" / "ledger.sqlite").write_bytes(b"half")
    repair(folder)
    assert verify(folder) == []
    assert not (folder / ".ledger.repair").exists()
    assert json.dumps(kept(folder)) == "[2, 2]"


TWICE = {
    "numbers of rows that are texts": ("UPDATE rows SET row = 'x' WHERE row < 2", "UPDATE files SET mtime_ns = 'x' WHERE row = 3"),
    "rows of others": ("UPDATE rows SET row = CASE row WHEN 1 THEN -2 ELSE 1 END WHERE row IN (1, 2)",
                       "UPDATE rows SET row = 2 WHERE row = -2", "UPDATE files SET mtime_ns = 'x' WHERE row = 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", TWICE)
def test_damage_behind_damage_is_mended_at_once(what: str, folder: Path, matrices: list[Matrix]) -> None:
    """Cells that are wrong do not hide rows that are: one repair makes the ledger fit its store."""
    change(folder, *TWICE[what])
    assert "ledger.sqlite" in str(verify(folder))
    repair(folder)
    assert verify(folder) == []
    assert kept(folder)[1] == 2
    check_next_run(folder, matrices)


@pytest.mark.parametrize("value", ["-1", f"{2**62}", "1.5", "x'00'", "'x'", "NULL"])
def test_numbers_that_no_ledger_keeps_are_mended(folder: Path, matrices: list[Matrix], value: str) -> None:
    """Whatever stands for a number that a ledger counts by, verify names it and repair mends it."""
    change(folder, f"UPDATE meta SET value = {value} WHERE key IN ('scan', 'rows', 'settled_rows')")
    assert "ledger.sqlite" in str(verify(folder))
    repair(folder)
    assert verify(folder) == []
    check_next_run(folder, matrices)


def test_a_damaged_path_among_what_is_gone_is_told_in_words(folder: Path, matrices: list[Matrix]) -> None:
    """A cell that our own function is asked about in SQL is damage as well, and no bug."""
    change(folder, "UPDATE files SET source = 7, scan = 0")
    with StoreWriter(folder) as writer, pytest.raises(StoreError, match="for a path"):
        writer.ledger.scans.mark_gone(1, SOURCE)


@pytest.mark.parametrize("cell", ["x'00'", "'a text'", "-7", "1.5", "4e18"])
def test_a_damaged_cell_is_told_in_words(cell: str, folder: Path, matrices: list[Matrix]) -> None:
    """Whoever comes upon a cell that no ledger wrote hears which ledger it is, and what to do."""
    change(folder, f"UPDATE files SET row = {cell} WHERE row = 3")
    with Ledger(folder) as ledger, pytest.raises(StoreError, match=r"it holds .* for .*row.*pixelmill repair"):
        list(ledger.worklist.images(1))


def test_an_error_of_a_program_is_no_damage(
    folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger does not take what its own code, or its caller's, does wrong for damage: it comes out as itself."""
    change(folder)

    def bug(*_: object) -> bool:
        raise TypeError("a bug")

    with Ledger(folder) as ledger:
        with pytest.raises(TypeError, match="a bug"):
            list(ledger.worklist.images(1, bug))
        with pytest.raises(TypeError, match="a bug"):
            ledger.scans.mark_gone(2, SOURCE, fitting=bug)
        with pytest.raises(sqlite3.ProgrammingError):
            ledger.database.number("SELECT ?")
        monkeypatch.setattr("pixelmill.store.worklist.recorded_file", bug)
        with pytest.raises(TypeError, match="a bug"):
            list(ledger.worklist.images(1))
    assert verify(folder) == []


@pytest.fixture
def captioned(folder: Path, matrices: list[Matrix]) -> Path:
    """The same with a text beside each picture, which was read, and one that waits to be."""
    with StoreWriter(folder) as writer:
        waiting = note_texts(writer.ledger, range(12))
        writer.ledger.beside.record_said([(one, Said({"caption": one.path}, "txt")) for one in waiting[:-1]])
        list(writer.ledger.beside.changed_rows())
        writer.ledger.beside.settle()
    assert verify(folder) == []
    return folder


def note_texts(ledger: Ledger, numbers: range) -> list[Companion]:
    texts = [Companion(SOURCE, file_of(number).path + ".txt", 10, 1, 1) for number in numbers]
    ledger.beside.record(ledger.scans.begin(), texts)
    return [text for some in ledger.beside.to_read(100) for text in some]


def captions(folder: Path) -> dict[int, object]:
    with StoreWriter(folder) as writer:
        record_files(writer, range(13))
        found = writer.ledger.beside.of_rows((row, b"") for row in range(12))
        return {row: values.get("caption") for row, values in found}


BESIDE = {
    "values that are no JSON": "UPDATE said SET said = '{' WHERE path LIKE '%/3%'",
    "values that are a list": "UPDATE said SET said = '[]' WHERE path LIKE '%/3%'",
    "a text for a path": "UPDATE said SET path = 'x' WHERE path LIKE '%/3%'",
    "a kind that is none": "UPDATE beside SET kind = 'exe' WHERE path LIKE '%/3%'",
    "a text for a size": "UPDATE beside SET size = 'x' WHERE path LIKE '%/3%'",
    "an index dropped": "DROP INDEX files_unsettled",
    "a trigger dropped": "DROP TRIGGER row_left",
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_came_with_images_is_mended_or_read_again(what: str, captioned: Path) -> None:
    """What a repair can keep of it is kept, so that a source that is away then loses nothing; what made no sense is
    dropped, and read again by the next run."""
    before = captions(captioned)
    change(captioned, BESIDE[what].replace("path LIKE '%/3%'", f"path = x'{(file_of(3).encoded + b'.txt').hex()}'"))
    assert [damage.file for damage in verify(captioned)][:1] == ["ledger.sqlite"]
    repair(captioned)
    assert verify(captioned) == []
    assert captions(captioned) == before or captions(captioned) == {**before, 3: None}
    with StoreWriter(captioned) as writer:
        again = note_texts(writer.ledger, range(12))
        assert again
        writer.ledger.beside.record_said([(one, Said({"caption": one.path}, "txt")) for one in again])
        assert [values["caption"] for _, values in writer.ledger.beside.of_rows((row, b"") for row in range(12))] == [
            file_of(row).path + ".txt" for row in range(12)
        ]


def test_a_lost_ledger_says_nothing_of_what_came_with_images(captioned: Path) -> None:
    """Rows whose files nobody has looked at since are left out: it is not said that nothing came with them."""
    (captioned / "ledger.sqlite").unlink()
    repair(captioned)
    with StoreWriter(captioned) as writer:
        assert list(writer.ledger.beside.of_rows((row, b"") for row in range(12))) == []
        record_files(writer, range(3))
        assert dict(writer.ledger.beside.of_rows((row, b"") for row in range(12))) == {0: {}, 1: {}, 2: {}}

"""The end of a run over very many files keeps nobody from writing for long, and tells of each file once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.store.commit import StoreWriter
from pixelmill.store.database import Database
from pixelmill.store.manifest import Matrix
from pixelmill.store.rows import Changes
from pixelmill.store.settlement import Settlement
from tests.support.stores import SOURCE, file_of, record_files, shard_rows


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows are very many."""
    monkeypatch.setattr("pixelmill.store.settlement.AT_ONCE", 3)


def settle(writer: StoreWriter) -> Changes:
    told = writer.ledger.changes()
    writer.update_locations(told.stale_rows)
    writer.ledger.settle()
    return told


def moved(writer: StoreWriter, numbers: range, matrices: list[Matrix], folder: str) -> None:
    """Every content is found in another folder, and read there."""
    files = [file_of(number, f"{folder}/{number}.png") for number in numbers]
    scan = writer.ledger.scans.begin()
    writer.ledger.scans.record(scan, files)
    writer.ledger.scans.mark_gone(scan, SOURCE)
    with writer.ledger.transaction():
        writer.ledger.contents.record_read((file, number) for number, file in zip(numbers, files, strict=True))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 6, 7, 20])
def test_stretches_tell_of_each_file_once(
    number: int, small: None, writer: StoreWriter, matrices: list[Matrix]
) -> None:
    """Whatever part of a stretch is left: new, moved and removed files are told once, and nothing is left over."""
    record_files(writer, range(number))
    writer.commit(shard_rows(range(number), matrices))
    assert settle(writer).new == number
    moved(writer, range(number), matrices, "elsewhere")
    told = settle(writer)
    assert (told.moved, told.removed, len(told.stale_rows)) == (number, 0, number)
    assert [writer.snapshot().place(row)[1] for row in range(number)] == [f"elsewhere/{n}.png" for n in range(number)]
    scan = writer.ledger.scans.begin()
    writer.ledger.scans.mark_gone(scan, SOURCE)
    assert settle(writer).removed == number
    assert settle(writer) == Changes()


def test_others_write_while_it_is_told(
    writer: StoreWriter, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes minutes keeps no other run from writing; what that one records meanwhile is told by itself."""
    record_files(writer, range(3))
    writer.commit(shard_rows(range(3), matrices))
    told = Settlement.changes

    def beside(self: Settlement) -> Changes:
        with closing(sqlite3.connect(writer.ledger.path, timeout=0)) as other, other:
            other.execute("INSERT INTO files (path, source, row) VALUES (x'2f70', x'2f', 2)")
        return told(self)

    monkeypatch.setattr(Settlement, "changes", beside)
    first = settle(writer)
    monkeypatch.undo()
    second = settle(writer)
    assert [(told.new, told.duplicate) for told in (first, second)] == [(3, 0), (0, 1)]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_run_that_dies_while_it_settles_loses_no_news(
    done: int, small: None, writer: StoreWriter, folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever stretch is the last, the next run tells of all that was not settled, as what it is."""
    record_files(writer, range(10))
    writer.commit(shard_rows(range(10), matrices))
    transaction, left = Database.transaction, Counter({"transactions": done})

    def dying(self: Database) -> object:
        left["transactions"] -= 1
        if left["transactions"] < 0:
            raise StoreError("the machine dies")
        return transaction(self)

    writer.ledger.changes()
    monkeypatch.setattr(Database, "transaction", dying)
    with pytest.raises(StoreError, match="dies"):
        writer.ledger.settle()
    monkeypatch.undo()
    with StoreWriter(folder) as later:
        told = settle(later)
        assert told.new == 10 - 3 * done
        assert (told.moved, told.changed, told.duplicate) == (0, 0, 0)
        assert settle(later) == Changes()

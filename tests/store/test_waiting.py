"""Whoever waits for others over a store waits as long for its ledger as for its lock, says so, and gives up in words."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from pixelmill.errors import StoreBusy
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.readonly import open_read_only
from tests.support.stores import check_plain, record_files, sha256, shard_rows


@contextmanager
def held_by_another(folder: Path, seconds: float, how: str) -> Iterator[None]:
    """Another program is in a transaction of the ledger for so long."""
    begun = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as database:
            if how == "EXCLUSIVE":
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute(f"BEGIN {how}")
            database.execute("UPDATE meta SET value = value")
            begun.set()
            time.sleep(seconds)
            database.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    yield
    thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lock", "database", "sqlite_errors"):
        monkeypatch.setattr(f"pixelmill.store.{module}.PATIENCE", 1.5)
    for module in ("lock", "database"):
        monkeypatch.setattr(f"pixelmill.store.{module}.TELL_AFTER", 0.2)


def test_a_writer_waits_for_the_ledger_and_says_so(
    writer: StoreWriter, matrices: list[Matrix], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that keeps the ledger locked for longer than SQLite waits by itself holds a run up, and is told of."""
    monkeypatch.setattr("pixelmill.store.database.TELL_AFTER", 0.2)
    record_files(writer, range(3))
    with held_by_another(writer.folder, 2.5, "IMMEDIATE"):
        writer.commit(shard_rows(range(3), matrices))
    assert "another program keeps it locked" in caplog.text
    check_plain(writer.folder, {sha256(n): {"a": True, "b": True} for n in range(3)})


def test_a_writer_gives_up_in_words_and_loses_nothing(
    writer: StoreWriter, matrices: list[Matrix], impatient: None
) -> None:
    """What was embedded is stored, whether or not the ledger can be told; a second try has nothing left to do."""
    record_files(writer, range(3))
    with (
        held_by_another(writer.folder, 4, "IMMEDIATE"),
        pytest.raises(StoreBusy, match=r"backup.*Nothing stored is lost"),
    ):
        writer.commit(shard_rows(range(3), matrices))
    check_plain(writer.folder, {sha256(n): {"a": True, "b": True} for n in range(3)})
    before = writer.snapshot().manifest
    assert writer.commit(shard_rows(range(3), matrices)).manifest == before
    assert writer.ledger.contents.row_count() == 3


def test_a_reader_gives_up_in_words(writer: StoreWriter, impatient: None) -> None:
    """A program that lets nobody else in keeps readers out as well, who say so."""
    writer.close()
    with (
        held_by_another(writer.folder, 2.5, "EXCLUSIVE"),
        pytest.raises(StoreBusy),
        open_read_only(writer.folder) as ledger,
    ):
        ledger.contents.row_count()


def test_the_lock_is_waited_for_in_words(
    writer: StoreWriter, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that holds the store's lock is waited for, told of, and then given up in words."""
    ready = multiprocessing.get_context("fork").Event()
    other = multiprocessing.get_context("fork").Process(target=_hold_lock, args=(writer.folder, ready))
    other.start()
    ready.wait()
    with pytest.raises(StoreBusy, match="Another process holds its lock"), writer.exclusive():
        pass
    assert "another process writes to the store" in caplog.text
    other.terminate()
    other.join()


def _hold_lock(folder: Path, ready: threading.Event) -> None:
    with FileLock(folder / ".lock"):
        ready.set()
        time.sleep(60)

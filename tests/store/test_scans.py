"""What scans find is recorded right, and unchanged files cost next to nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pixelmill.sources.found import FoundFile
from pixelmill.store import recorded
from pixelmill.store.ledger import Ledger

COUNT = 3 * recorded.STRETCH


def found(number: int, size: int = 10) -> FoundFile:
    return FoundFile("/photos", f"{number:06}.jpg", size, 1, 1)


@pytest.fixture
def ledger(tmp_path: Path):
    """A ledger that has every one of the files on record, each with its row."""
    with Ledger(tmp_path) as ledger:
        files = [found(number) for number in range(COUNT)]
        ledger.scans.record(ledger.scans.begin(), files)
        ledger.contents.record_read(zip(files, range(COUNT), strict=True))
        ledger.changes()
        ledger.settle()
        yield ledger


def statements(ledger: Ledger, files: list[FoundFile]) -> int:
    """How many statements it takes to look up and record a scan."""
    done: list[str] = []
    ledger.database.connection.set_trace_callback(done.append)
    assert all(ledger.scans.is_known(file) for file in files)
    ledger.scans.record(ledger.scans.begin(), files)
    ledger.database.connection.set_trace_callback(None)
    return len(done)


def test_unchanged_files_cost_no_statement_each(ledger: Ledger) -> None:
    """A second scan of 3,000 unchanged files takes some twenty statements, and finds all of them with their rows."""
    assert statements(ledger, [found(number) for number in range(COUNT)]) < 40
    scan = ledger.scans.seen_under(2, "/photos")
    assert scan == COUNT
    assert [row for _, row in ledger.worklist.images(2)] == list(range(COUNT))


def test_what_changed_among_unchanged_files_is_recorded(ledger: Ledger) -> None:
    """One changed, one new and one vanished file in the middle of a stretch are told as such, and the others are not."""
    scan = ledger.scans.begin()
    files = [found(number, 11 if number == 5 else 10) for number in range(COUNT) if number != recorded.STRETCH + 7]
    files.insert(recorded.STRETCH * 2 + 9, FoundFile("/photos", f"{recorded.STRETCH * 2 + 9:06}-a.jpg", 1, 1, 1))
    ledger.scans.record(scan, files)
    ledger.scans.mark_gone(scan, "/photos")
    waiting = [file.path for file, row in ledger.worklist.images(scan) if row is None]
    assert waiting == ["000005.jpg", f"{recorded.STRETCH * 2 + 9:06}-a.jpg"]
    assert ledger.changes().removed == 1
    assert ledger.scans.images_under("/photos") == COUNT


def test_a_file_that_is_back_is_no_longer_gone(ledger: Ledger) -> None:
    """A file that one scan missed and the next finds unchanged is there again."""
    files = [found(number) for number in range(COUNT)]
    missed = ledger.scans.begin()
    ledger.scans.record(missed, files[:-1])
    ledger.scans.mark_gone(missed, "/photos")
    ledger.scans.record(ledger.scans.begin(), files)
    assert ledger.scans.images_under("/photos") == COUNT


def test_files_are_known_in_whatever_order_they_are_asked_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known, changed and unknown files are told apart in any order, however little is read ahead."""
    monkeypatch.setattr(recorded, "READ_AHEAD", 7)
    asked = [found(number, size) for number in range(0, COUNT + 40, 20) for size in (10, 11)]
    random.Random(0).shuffle(asked)
    for file in asked:
        assert ledger.scans.is_known(file) == (file.size == 10 and file.path < found(COUNT).path)

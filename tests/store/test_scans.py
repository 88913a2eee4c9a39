"""What scans find is recorded right, and unchanged files cost next to nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pixelmill.sources.found import FoundFile
from pixelmill.store import sightings
from pixelmill.store.ledger import Ledger

COUNT = 3 * sightings.STRETCH


def found(number: int, size: int = 10) -> FoundFile:
    return FoundFile("/photos", f"{number:06}.jpg", size, 1, 1)


@pytest.fixture
def ledger(tmp_path: Path):
    """A ledger that has every one of the files on record, each with its row."""
    with Ledger(tmp_path) as ledger:
        files = [found(number) for number in range(COUNT)]
        ledger.record_scan(ledger.new_scan(), files)
        ledger.record_read(zip(files, range(COUNT), strict=True))
        ledger.changes()
        ledger.settle()
        yield ledger


def statements(ledger: Ledger, files: list[FoundFile]) -> int:
    """How many statements it takes to look up and record a scan."""
    done: list[str] = []
    ledger._db.set_trace_callback(done.append)
    assert all(ledger.is_known(file) for file in files)
    ledger.record_scan(ledger.new_scan(), files)
    ledger._db.set_trace_callback(None)
    return len(done)


def test_unchanged_files_cost_no_statement_each(ledger: Ledger) -> None:
    """A second scan of 3,000 unchanged files takes some twenty statements, and finds all of them with their rows."""
    assert statements(ledger, [found(number) for number in range(COUNT)]) < 40
    scan = ledger.seen_under(2, "/photos")
    assert scan == COUNT
    assert [row for _, row in ledger.images(2)] == list(range(COUNT))


def test_what_changed_among_unchanged_files_is_recorded(ledger: Ledger) -> None:
    """One changed, one new and one vanished file in the middle of a stretch are told as such, and the others are not."""
    scan = ledger.new_scan()
    files = [found(number, 11 if number == 5 else 10) for number in range(COUNT) if number != sightings.STRETCH + 7]
    files.insert(sightings.STRETCH * 2 + 9, FoundFile("/photos", f"{sightings.STRETCH * 2 + 9:06}-a.jpg", 1, 1, 1))
    ledger.record_scan(scan, files)
    ledger.mark_gone(scan, "/photos")
    waiting = [file.path for file, row in ledger.images(scan) if row is None]
    assert waiting == ["000005.jpg", f"{sightings.STRETCH * 2 + 9:06}-a.jpg"]
    assert ledger.changes().removed == 1
    assert ledger.images_under("/photos") == COUNT


def test_a_file_that_is_back_is_no_longer_gone(ledger: Ledger) -> None:
    """A file that one scan missed and the next finds unchanged is there again."""
    files = [found(number) for number in range(COUNT)]
    missed = ledger.new_scan()
    ledger.record_scan(missed, files[:-1])
    ledger.mark_gone(missed, "/photos")
    ledger.record_scan(ledger.new_scan(), files)
    assert ledger.images_under("/photos") == COUNT


def test_files_are_known_in_whatever_order_they_are_asked_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known, changed and unknown files are told apart in any order, however little is read ahead."""
    monkeypatch.setattr(sightings, "READ_AHEAD", 7)
    asked = [found(number, size) for number in range(0, COUNT + 40, 20) for size in (10, 11)]
    random.Random(0).shuffle(asked)
    for file in asked:
        assert ledger.is_known(file) == (file.size == 10 and file.path < found(COUNT).path)

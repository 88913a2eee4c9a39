"""A full disk or an I/O error is told in clear words, and leaves the last snapshot as it was and nothing half-written."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import pytest

from pixelmill.errors import StoreError
from pixelmill.store.commit import StoreWriter
from tests.support.acknowledged import (
    Acknowledged,
    check,
    check_next_run,
    check_nothing_half_written,
    check_snapshot,
    matrices_of,
    work,
)
from tests.support.disk import small_disk
from tests.support.shim import Call, Kind, compiled
from tests.support.shimmed import Refused, record, refuse_at
from tests.support.stores import shard_rows

COMMITS = 4
BYTES = re.compile(r"Expected [\d,]+ bytes of free space .* Found [\d,]+\. .*free some space and run again")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


def wrong_with(told: Refused, call: Call, error: int) -> str:
    """What was not as it should be when `call` failed with `error`, or nothing."""
    if told.raised and not told.ours:
        return f"{told.number} {call.kind.name} {call.path}: raw {told.raised}: {told.message}"
    if told.raised and not any(word in told.message for word in words_for(error)):
        return f"{told.number} {call.kind.name} {call.path}: {told.message}"
    if not told.raised and call.kind not in (Kind.SYNC, Kind.UNLINK, Kind.FAILED) and "ledger" not in call.path:
        return f"{told.number} {call.kind.name} {call.path}: nobody was told"
    return told.problem and f"{told.number} {call.kind.name} {call.path}: {told.problem}"


def words_for(error: int) -> tuple[str, ...]:
    """How a message may name the trouble; SQLite has words of its own."""
    names = {
        errno.EIO: ("Input/output error", "disk I/O error", "unable to open database file"),
        errno.ENOSPC: ("free some space", "No space left"),
    }
    return names[error]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("error", "for_good", "every"),
    [
        pytest.param(errno.EIO, False, 41, id="one error"),
        pytest.param(errno.ENOSPC, True, 43, id="full disk"),
        pytest.param(errno.EIO, False, 1, id="one error anywhere", marks=pytest.mark.slow),
        pytest.param(errno.ENOSPC, True, 1, id="full disk anywhere", marks=pytest.mark.slow),
        pytest.param(errno.EIO, True, 5, id="dead disk", marks=pytest.mark.slow),
        pytest.param(errno.ENOSPC, False, 3, id="full for a moment", marks=pytest.mark.slow),
    ],
)
def test_a_call_that_fails_harms_nothing(error: int, for_good: bool, every: int, shim: Path, memory: Path) -> None:
    """Whichever call fails, and all after it where the disk stays full: a StoreError says why, all rows acknowledged
    are there and sound, nothing half-written is, unless a removal failed or was not come to; the next run completes the
    store and a compaction leaves nothing."""
    calls = record(shim, memory / "run", COMMITS).calls
    numbers = sorted({*range(0, len(calls), every), *one_commit(calls)})
    removals = [n for n in range(len(calls)) if any(call.kind is Kind.UNLINK for call in calls[n : n + 3])]
    found = refuse_at(shim, memory / "refused", COMMITS, numbers, error, for_good=for_good, untidy=removals)
    assert [told.number for told in found] == numbers
    assert sum(bool(told.raised) for told in found) > len(found) * 0.8
    assert [wrong for told in found if (wrong := wrong_with(told, calls[told.number], error))] == []


def one_commit(calls: list[Call]) -> list[int]:
    """As many consecutive calls as a commit makes to write its part, its manifest and its master."""
    outside_ledger = [number for number, call in enumerate(calls) if "ledger" not in call.path]
    return outside_ledger[len(outside_ledger) // 2 :][:18]


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_real_disk_that_fills_up_harms_nothing(every: int, tmp_path: Path) -> None:
    """On a disk that is too small by less and less, a run says how much space it needs; what was acknowledged can be
    read while the disk is full, and after it has grown the next run completes the store."""
    for kilobytes in range(8, 480, 8 * every):
        disk, done = tmp_path / f"{kilobytes}", [Acknowledged()]
        with small_disk(disk, kilobytes):
            with pytest.raises(StoreError, match=BYTES):
                work(disk / "store", 25, done.append)
            check_snapshot(disk / "store", done[-1])
            check_nothing_half_written(disk / "store")
            subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
            check(disk / "store", done[-1])
            check_next_run(disk / "store", 5, done[-1])


@pytest.mark.parametrize("tidies", [True, False])
def test_a_store_that_did_not_tidy_up_would_be_seen(tidies: bool, folder: Path) -> None:
    """The control: without the removal of what could not be made durable, temporary files are found."""
    failing = mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, "Input/output error"))
    with StoreWriter(folder) as writer:
        matrices = matrices_of(writer)
        with failing, nullcontext() if tidies else mock.patch.object(Path, "unlink"), pytest.raises(StoreError):
            writer.commit(shard_rows(range(3), matrices))
    with nullcontext() if tidies else pytest.raises(AssertionError):
        check_nothing_half_written(folder)

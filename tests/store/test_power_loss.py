"""A power cut at any moment takes nothing that was acknowledged: what no fsync made durable may be lost, in any part.

The disk is the one of `tests.support.disk`, which keeps no promise that POSIX does not make; it is fed the log of a run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.support.acknowledged import check, check_next_run
from tests.support.disk import Disk, Entry, put
from tests.support.shim import Call, Kind, compiled
from tests.support.shimmed import STORE, Recorded, record
from tests.support.spread import spread


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


def no_sync(entry: Entry) -> bool:
    return False


def any_sync(entry: Entry) -> bool:
    return True


def sync_of_files(entry: Entry) -> bool:
    return entry is not None


def sync_of_folders(entry: Entry) -> bool:
    return entry is None


@dataclass(frozen=True, slots=True)
class Cuts:
    """Power cuts: after which of the calls, how often at each, and which calls of fsync did nothing before."""

    commits: int
    every: int = 1
    times: int = 1
    forgets: Callable[[Entry], bool] = no_sync


def losses(recorded: Recorded, cuts: Cuts, place: Path, share: int, shares: int) -> list[str]:
    """A word for each power cut that the test of this share simulated: what it took, or nothing."""
    disk, found = Disk(cuts.forgets), []
    for number, call in enumerate([*recorded.calls, Call(Kind.FAILED, "")]):
        if number % cuts.every == 0 and number // cuts.every % shares == share:
            randoms = [Random(f"{number} {i}") for i in range(cuts.times)]
            found += [loss(disk, recorded, number, place / f"{share}", random, cuts.commits) for random in randoms]
        disk.do(call)
    return found


def loss(disk: Disk, recorded: Recorded, number: int, root: Path, random: Random, commits: int) -> str:
    put(disk.after_loss(random), root)
    try:
        check(root / STORE, recorded.done(number))
        check_next_run(root / STORE, commits, recorded.done(number))
    except Exception as error:
        return f"after {number} calls: {error!r}"
    finally:
        shutil.rmtree(root)
    return ""


def lost(recorded: Recorded, cuts: Cuts, place: Path) -> tuple[int, list[str]]:
    """How many power cuts were simulated, and what was lost."""
    found = spread(partial(losses, recorded, cuts, place))
    return len(found), [wrong for wrong in found if wrong]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param(Cuts(4, every=5), id="few"),
        pytest.param(Cuts(4, times=4), id="often", marks=pytest.mark.slow),
        pytest.param(Cuts(25), id="many", marks=pytest.mark.slow),
    ],
)
def test_a_power_cut_takes_nothing_acknowledged(cuts: Cuts, shim: Path, memory: Path) -> None:
    """Whatever part of the unsynced writes, names and sectors a power cut takes: the store opens, is sound, has all
    rows acknowledged and each row its own vectors, and the next run completes it and counts each file once."""
    recorded = record(shim, memory / "run", cuts.commits)
    number, wrong = lost(recorded, cuts, memory)
    assert number >= len(recorded.calls) // cuts.every * cuts.times
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [any_sync, sync_of_files, sync_of_folders])
def test_without_fsync_power_cuts_would_be_seen_to_take_rows(
    forgets: Callable[[Entry], bool], shim: Path, memory: Path
) -> None:
    """The control: on a disk that forgets what fsync told it, of files or of folders, rows are lost."""
    recorded = record(shim, memory / "run", 3)
    number, wrong = lost(recorded, Cuts(3, every=7, forgets=forgets), memory)
    assert len(wrong) > number // 10

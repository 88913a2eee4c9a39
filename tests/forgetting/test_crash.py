"""Forgetting that is killed at any system call, loses power or meets an error is not begun, or brought to its end."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from random import Random

import pytest

from pixelmill.store import forgotten
from pixelmill.store.reader import Store
from tests.support.disk import Disk, put
from tests.support.forgetting_run import STORE, Recorded, check, record, refuse
from tests.support.shim import Call, Kind, compiled
from tests.support.stores import read_own

KILLS, CUTS, ERRORS = 47, 67, 97
"""Each so manieth call is looked at, but more of them when slow; all were, when this was written."""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def recorded(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(shim, tmp_path_factory.mktemp("recorded") / "root")


def wrong_states(recorded: Recorded, place: Path, every: int, *, power: bool) -> tuple[int, list[str]]:
    """How many states were looked at that a kill, or a loss of power, can leave, and what was wrong with them."""
    disk, before, looked, wrong = Disk(), None, 0, list[str]()
    for number, call in enumerate([*recorded.calls, Call(Kind.FAILED, "")]):
        if number == recorded.filled:
            put(disk.contents(), place / "filled")
            before = read_own(Store(place / "filled" / STORE))
        if before is not None and (number - recorded.filled) % every == 0:
            root = place / f"{number}"
            put(disk.after_loss(Random(number)) if power else disk.contents(), root)
            looked += 1
            try:
                check(root / STORE, before)
            except Exception as error:
                wrong.append(f"after {number - recorded.filled} calls: {error!r}")
            shutil.rmtree(root)
        disk.do(call)
    return looked, wrong


@pytest.mark.parametrize("every", [KILLS, pytest.param(11, marks=pytest.mark.slow)])
def test_killed_at_any_call(every: int, recorded: Recorded, tmp_path: Path) -> None:
    """All other rows are what they were; these are there whole, or gone whole; the next one ends it, and finds nothing
    of them in any file."""
    looked, wrong = wrong_states(recorded, tmp_path, every, power=False)
    assert looked > 200 // every
    assert wrong == []


def test_without_the_record_something_would_be_left(recorded: Recorded, tmp_path: Path) -> None:
    """The control: of a death when all is published, nobody would erase the rest if it were not on record."""
    disk = Disk()
    for call in recorded.calls[: recorded.filled]:
        disk.do(call)
    put(disk.contents(), tmp_path / "filled")
    for call in recorded.calls[recorded.filled :]:
        disk.do(call)
        if (call.kind, call.second) == (Kind.RENAME, f"{STORE}/vectors.h5"):
            break
    put(disk.contents(), tmp_path / "root")
    (tmp_path / "root" / STORE / forgotten.FILE).unlink()
    with pytest.raises(AssertionError):
        check(tmp_path / "root" / STORE, read_own(Store(tmp_path / "filled" / STORE)))


@pytest.mark.parametrize("every", [CUTS, pytest.param(17, marks=pytest.mark.slow)])
def test_without_power_at_any_call(every: int, recorded: Recorded, tmp_path: Path) -> None:
    """The same where any part of what no fsync made durable is lost."""
    looked, wrong = wrong_states(recorded, tmp_path, every, power=True)
    assert looked > 200 // every
    assert wrong == []


@pytest.mark.parametrize("every", [ERRORS, pytest.param(23, marks=pytest.mark.slow)])
def test_refused_any_call(every: int, shim: Path, tmp_path: Path) -> None:
    """An I/O error at any call is told, and harms nothing else."""
    tried, wrong = refuse(shim, tmp_path / "root", errno.EIO, every)
    assert tried >= 200 // every
    assert wrong == []

"""A run that is killed at any system call loses nothing that it acknowledged, and the next run completes it.

Every state that a kill can leave is built from the log of the calls of a whole run; a sample of kills is real.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.support.acknowledged import Acknowledged, check, check_next_run
from tests.support.disk import Contents, Disk, put
from tests.support.shim import Call, Kind, compiled
from tests.support.shimmed import STORE, Recorded, kill_at, record
from tests.support.spread import spread

TEMPORARY = re.compile(r"\.(?P<name>[^/]+)\.[0-9a-f]{8}\.tmp$")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


def states(calls: Sequence[Call]) -> Iterator[tuple[int, Contents]]:
    """What is on the disk after each number of calls, each state once; some also with half of the next write."""
    disk, changed = Disk(), True
    for number, call in enumerate([*calls, Call(Kind.FAILED, "")]):
        torn = call.kind is Kind.WRITE and number % 5 == 0
        if changed or torn:
            yield number, disk.contents()
        if torn:
            yield number, half_written(disk.contents(), call)
        changed = call.kind not in (Kind.SYNC, Kind.FAILED)
        disk.do(call)


def half_written(contents: Contents, call: Call) -> Contents:
    old, half = (contents[call.path] or b"").ljust(call.offset, b"\0"), call.data[: len(call.data) // 2]
    return contents | {call.path: old[: call.offset] + half + old[call.offset + len(half) :]}


def losses(recorded: Recorded, commits: int, place: Path, next_run_every: int, share: int, shares: int) -> list[str]:
    """A word for each state that the test of this share looked at: what is wrong with it, or nothing."""
    found = []
    for i, (number, contents) in enumerate(states(recorded.calls)):
        if i % shares == share:
            root, goes_on = place / f"{i}", i // shares % next_run_every == 0
            put(contents, root)
            found.append(problem(root / STORE, commits, recorded.done(number), f"after {number} calls", goes_on))
            shutil.rmtree(root)
    return found


def problem(store: Path, commits: int, done: Acknowledged, when: str, goes_on: bool = True) -> str:
    try:
        check(store, done)
        if goes_on:
            check_next_run(store, commits, done)
    except Exception as error:
        return f"{when}: {error!r}"
    return ""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("commits", "next_run_every"), [(4, 6), pytest.param(25, 1, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_call_loses_nothing(commits: int, next_run_every: int, shim: Path, memory: Path) -> None:
    """After a kill before any call that changes the store, or in the middle of a write: the store opens, is sound, has
    all rows acknowledged and each row its own vectors, and the next run completes it and counts each file once."""
    recorded = record(shim, memory / "run", commits)
    found = spread(partial(losses, recorded, commits, memory, next_run_every))
    assert len(found) > len(recorded.calls) * 0.8
    assert [wrong for wrong in found if wrong] == []


@pytest.mark.parametrize("spacing", [41, pytest.param(7, marks=pytest.mark.slow)])
def test_real_kills_leave_what_the_log_says(spacing: int, shim: Path, memory: Path) -> None:
    """A process that is killed at a call leaves the files that the calls before it made, and its next run completes
    them."""
    recorded = record(shim, memory / "run", 4)
    told = dict(reversed(list(states(recorded.calls))))  # of two at one call the whole one, which comes first
    roots = {number: memory / f"{number}" for number in sorted(told)[:-1][::spacing]}
    for (number, root), done in zip(roots.items(), kill_at(shim, roots, 4), strict=True):
        assert done == recorded.done(number)
        assert shapes_in(root) == shapes_of(told[number])
        assert problem(root / STORE, 4, done, f"after {number} calls") == ""


def shapes_in(root: Path) -> list[tuple[str, int]]:
    found = [path for path in root.rglob("*") if not path.name.endswith("-shm")]
    return shapes_of({str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in found})


def shapes_of(contents: Contents) -> list[tuple[str, int]]:
    """Names without what is random in them, with sizes; not of files with a time in them, which may be longer."""
    shapes = [(re.sub(r"[0-9a-f]{8,}", "#", path), len(content or b"")) for path, content in contents.items()]
    return sorted(
        (name, 0 if re.search("manifest|revisions|vectors|writers", name) else size)
        for name, size in shapes
        if name != "."
    )


@pytest.mark.slow
def test_a_run_that_wrote_in_place_would_be_seen_to_lose(shim: Path, memory: Path) -> None:
    """The control: if the same run wrote files under their own names, without a rename, kills would be seen to do harm."""
    recorded = record(shim, memory / "run", 3)
    in_place = replace(recorded, calls=[written_in_place(call) for call in recorded.calls])
    found = spread(partial(losses, in_place, 3, memory, 9))
    assert any("StoreDamaged" in wrong for wrong in found)


def written_in_place(call: Call) -> Call:
    path = TEMPORARY.sub(lambda match: match["name"], call.path)
    return replace(call, path=path, kind=Kind.FAILED if call.kind is Kind.RENAME else call.kind)

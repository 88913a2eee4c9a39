"""What passes between a run and its workers, in files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelmill.embedding.timing import Timing
from pixelmill.errors import StoreError
from pixelmill.plan import Shard
from pixelmill.run.handoff import RunFolder, whole
from pixelmill.run.job import Job
from pixelmill.run.results import ShardReport, combined
from pixelmill.watch import calls
from tests.support.models import spec_of

NAME = os.fsdecode(b"/photos/caf\xe9.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "runs" / "7").mkdir(parents=True)
    return RunFolder(tmp_path, 7)


def test_orders_survive_names_that_are_not_utf8(folder: RunFolder, tmp_path: Path) -> None:
    """A source whose name is not UTF-8 reaches the workers."""
    (tmp_path / "weights").write_bytes(b"weights")
    job = Job(
        sources=(NAME,), store=tmp_path, specs=(spec_of("one", tmp_path),), cache={"cache_dir": tmp_path / "cache"},
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    orders = whole(job, 7, (), (Shard(0, 0, 10), Shard(1, 10, 5)), "inline")
    folder.give(orders)
    assert folder.orders() == orders


def test_reports_survive_names_that_are_not_utf8(folder: RunFolder) -> None:
    """A file that cannot be read costs itself, whatever it is called."""
    did = ShardReport(
        worker="inline", read=3, embedded={"one": 2}, devices={"one": "cpu"}, seconds=1.5,
        timing=Timing(0.1, 0.2, 0.3, {"one": 1.0}), unread=(f"{NAME}: Permission denied",),
    )  # fmt: skip
    folder.report(did)
    folder.report(did)
    assert folder.reports() == [did, did]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "no UTF-8": lambda whole: whole.replace(b"one", b"\xff\xfe"),
    "no object": lambda whole: b"[1]",
    "deep": lambda whole: b"[" * 100_000,
    "of another version": lambda whole: whole.replace(b'"shards"', b'"shreds"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_orders_are_told_in_words(damage: str, folder: RunFolder, tmp_path: Path) -> None:
    """Orders that cannot be understood end with what to do, whatever they are."""
    (tmp_path / "weights").write_bytes(b"weights")
    job = Job(
        sources=("/photos",), store=tmp_path, specs=(spec_of("one", tmp_path),), cache={"cache_dir": tmp_path / "cache"},
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    folder.give(whole(job, 7, (), (Shard(0, 0, 10),), "inline"))
    orders = folder.path / "orders.json"
    orders.write_bytes(DAMAGE[damage](orders.read_bytes()))
    with pytest.raises(StoreError, match=r"cannot be understood.*same version.*run `vectorize` again"):
        folder.orders()


@pytest.mark.parametrize(
    "line",
    [b'{"worker": "gpu0', b"\xff\xfe", b"", b"[]", b"[" * 100_000, b'{"read": "x"}', b'{"embedded": {"one": 3}}',
     b'{"threads": 0}'],
    ids=["cut off", "no text", "empty", "no object", "deep", "no number", "no device", "no threads"],
)  # fmt: skip
def test_a_broken_report_fails_no_run(line: bytes, folder: RunFolder) -> None:
    """A line that a full disk or two processes of one name spoiled counts nothing, and the run's report says so."""
    did = ShardReport(worker="gpu0", read=3, embedded={"one": 2}, devices={"one": "cpu"}, seconds=1.5)
    folder.report(did)
    with (folder.path / "gpu0.jsonl").open("ab") as file:
        file.write(line + b"\n")
    folder.report(did)
    total = combined(folder.reports())
    assert (total.read, total.embedded) == (6, {"one": 4})
    assert [warning for warning in total.warnings if "gpu0" in warning and "counts here are too low" in warning]


def test_a_report_that_cannot_be_written_fails_no_shard(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    """A shard that is stored is done, whether or not the disk has room to say so; the log has it."""
    (folder.path / "gpu0.jsonl").symlink_to("/dev/full")
    folder.report(ShardReport(worker="gpu0", read=3))
    assert "No space left" in caplog.text


def test_orders_that_cannot_be_given_are_told_in_words(folder: RunFolder, tmp_path: Path) -> None:
    """Where the folder of orders cannot be made, the run ends with what to do, before anything is embedded."""
    folder.path.rmdir()
    folder.path.parent.rmdir()
    folder.path.parent.write_bytes(b"a file in its place")
    job = Job(
        sources=("/photos",), store=tmp_path, specs=(), cache={"cache_dir": tmp_path / "cache"},
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    with pytest.raises(StoreError, match="cannot be written"):
        folder.give(whole(job, 7, (), (), "inline"))
    with pytest.raises(StoreError, match="cannot be written"), folder.alive("gpu0"):
        pass


def test_a_sign_of_life_counts_by_its_change(folder: RunFolder) -> None:
    """The clocks of two machines may be hours apart: a sign made long ago, or in time to come, is new when first seen."""
    sign = folder.path / "gpu0.alive"
    assert folder.seconds_since_alive("gpu0") is None
    sign.touch()
    for moment in (1_000_000_000, 4_000_000_000):
        os.utime(sign, (moment, moment))
        first = folder.seconds_since_alive("gpu0")
        again = folder.seconds_since_alive("gpu0")
        assert first is not None
        assert again is not None
        assert first <= again < 5


def test_a_sign_of_life_says_how_far_the_work_has_gone(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs goes on to say that it lives, and not that it goes forward; what it does can be read."""
    monkeypatch.setattr("pixelmill.run.handoff.ALIVE_SECONDS", 0.05)
    with folder.alive("gpu0"):
        calls.begin("embed", "one with 32 images")
        time.sleep(0.2)
        seen = [(folder.seconds_since_alive("gpu0"), folder.seconds_since_progress("gpu0"))]
        for _ in range(8):
            time.sleep(0.1)
            seen.append((folder.seconds_since_alive("gpu0"), folder.seconds_since_progress("gpu0")))
        assert folder.doing("gpu0") == "embed one with 32 images"
        assert seen[-1][1] >= 0.6
        assert (seen[-1][0] or 0.0) < 0.5
        calls.go_on()
        time.sleep(0.3)
        assert folder.seconds_since_progress("gpu0") < 0.1


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_a_deadline_does_not_depend_on_the_clocks_of_two_machines(
    folder: RunFolder, tmp_path: Path, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is an hour off has as long as the others."""
    (tmp_path / "weights").write_bytes(b"weights")
    job = Job(
        sources=("/photos",), store=tmp_path, specs=(spec_of("one", tmp_path),), cache={"cache_dir": tmp_path / "cache"},
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8, deadline=time.time() + 1000,
    )  # fmt: skip
    folder.give(whole(job, 7, (), (Shard(0, 0, 10),), "inline"))
    now = time.time
    monkeypatch.setattr("pixelmill.run.handoff.time.time", lambda: now() + skew)
    deadline = folder.orders().job.deadline
    assert deadline is not None
    assert abs(deadline - time.time() - 1000) < 5

"""What passes between a run and its workers, in files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixelmill.job import Job
from pixelmill.orders import Desk, whole
from pixelmill.pipeline import Timing
from pixelmill.plan import Shard
from pixelmill.work import ShardReport
from tests.test_state_machine import spec_of

NAME = os.fsdecode(b"/photos/caf\xe9.jpg")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "runs" / "7").mkdir(parents=True)
    return Desk(tmp_path, 7)


def test_orders_survive_names_that_are_not_utf8(desk: Desk, tmp_path: Path) -> None:
    """A source whose name is not UTF-8 reaches the workers."""
    (tmp_path / "weights").write_bytes(b"weights")
    job = Job(
        sources=(NAME,), store=tmp_path, specs=(spec_of("one", tmp_path),), cache={"cache_dir": tmp_path / "cache"},
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    orders = whole(job, 7, (), (Shard(0, 0, 10), Shard(1, 10, 5)), "inline")
    desk.give(orders)
    assert desk.orders() == orders


def test_reports_survive_names_that_are_not_utf8(desk: Desk) -> None:
    """A file that cannot be read costs itself, whatever it is called."""
    did = ShardReport(
        worker="inline", read=3, embedded={"one": 2}, devices={"one": "cpu"}, seconds=1.5,
        timing=Timing(0.1, 0.2, 0.3, {"one": 1.0}), unread=(f"{NAME}: Permission denied",),
    )  # fmt: skip
    desk.report(did)
    desk.report(did)
    assert desk.reports() == [did, did]


def test_a_sign_of_life_counts_by_its_change(desk: Desk) -> None:
    """The clocks of two machines may be hours apart: a sign made long ago, or in time to come, is new when first seen."""
    sign = desk.folder / "gpu0.alive"
    assert desk.seconds_since_alive("gpu0") is None
    sign.touch()
    for moment in (1_000_000_000, 4_000_000_000):
        os.utime(sign, (moment, moment))
        first = desk.seconds_since_alive("gpu0")
        again = desk.seconds_since_alive("gpu0")
        assert first is not None
        assert again is not None
        assert first <= again < 5

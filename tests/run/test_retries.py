"""What may pass is tried again, with growing pauses; what will not, and a bug, is told at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from pixelmill.errors import (
    DeliveryLeft,
    DeliveryRefused,
    DeviceUnavailable,
    StoreBusy,
    StoreDamaged,
    TargetUnavailable,
    WeightsRefused,
    WeightsUnavailable,
)
from pixelmill.run import direct, retries
from pixelmill.run.retries import DELIVERY, DOWNLOAD, SHARD, STORE, Retries, may_pass
from pixelmill.run.steps import Steps
from pixelmill.watch import stopping

PASSING = [
    WeightsUnavailable("the server is busy"),
    OSError(5, "Input/output error"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    MemoryError(),
    StoreBusy("a backup keeps the ledger locked"),
    TargetUnavailable("the database is down"),
]
STAYING = [
    WeightsRefused("another sha256"),
    StoreDamaged("a part is missing"),
    DeviceUnavailable("no GPU"),
    DeliveryRefused("a wrong password"),
    DeliveryLeft("it hangs"),
    TypeError("a bug"),
    AttributeError("a bug"),
    KeyboardInterrupt(),
]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    pauses: list[float] = []
    monkeypatch.setattr(retries, "pause", pauses.append)
    return pauses


def failing(times: int, error: BaseException) -> Callable[[str], str]:
    left = [error] * times

    def step(given: str) -> str:
        if left:
            raise left.pop()
        return given

    return step


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception, slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Errors of network, disk, memory and drivers; each try is told, and after the last its error is raised."""
    assert may_pass(error)
    with caplog.at_level(logging.WARNING):
        assert Retries((1.0, 2.0)).around(failing(2, error), "publishing")("done") == "done"
    assert slept == [1.0, 2.0]
    assert [record.getMessage().partition(" failed: ")[0] for record in caplog.records] == ["publishing"] * 2
    with pytest.raises(type(error)):
        Retries((1.0, 2.0)).around(failing(3, error))("done")


@pytest.mark.parametrize("error", STAYING, ids=repr)
def test_what_will_stay_is_told_at_once(error: BaseException, slept: list[float]) -> None:
    """Those that Pixelmill calls lasting, a bug, and a person who stops it."""
    assert not may_pass(error)
    with pytest.raises(type(error)):
        Retries((1.0,)).around(failing(1, error))("done")
    assert slept == []


@pytest.mark.parametrize("policy", [DOWNLOAD, SHARD, DELIVERY])
def test_pauses_grow_and_scatter(policy: Retries, slept: list[float]) -> None:
    """Twice as long each time, and no two alike."""
    first = policy.pauses[0]
    assert policy.pauses == tuple(first * 2**n for n in range(len(policy.pauses)))
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            policy.around(failing(9, OSError("full")))("done")
    tries = len(policy.pauses)
    assert all(0.5 * p <= s <= 1.5 * p for p, s in zip(policy.pauses * 2, slept, strict=True))
    assert slept[:tries] != slept[tries:]


def test_a_pause_ends_when_the_process_is_asked_to_stop() -> None:
    """Nobody who stops a run waits for what it would try again."""
    began = time.monotonic()
    threading.Timer(0.3, stopping.ask).start()
    try:
        retries.pause(60.0)
    finally:
        stopping.forget()
    assert time.monotonic() - began < 10


def test_each_step_of_a_run_here_is_tried_again() -> None:
    """None is called bare; how shards are, the next test says."""
    bare = {name: getattr(Steps(), name) for name in Steps.__slots__ if name not in ("show", "stops")}
    assert [name for name in bare if getattr(direct.here(), name) is bare[name]] == []
    assert len(STORE.pauses) == 2

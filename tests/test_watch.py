"""Calls that never return are left behind; those that go forward are not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pixelmill.watch import calls, clocks, threads
from pixelmill.watch.calls import answer, begin, items_in_time
from pixelmill.watch.clocks import RunningClock, Unchanged
from pixelmill.watch.hangs import Unanswered, hanging
from pixelmill.watch.threads import Threads


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, seconds in {"SILENT_SECONDS": 0.5, "OVERTIME_SECONDS": 0.3, "TOLD_SECONDS": 0.2}.items():
        monkeypatch.setattr(calls, name, seconds)
    yield
    calls.start_anew()


def test_what_a_call_gives_or_raises() -> None:
    """The result, or the exception, is that of the call."""
    assert answer(lambda: 7) == 7
    with pytest.raises(TimeoutError, match="its own"):
        answer(lambda: (_ for _ in ()).throw(TimeoutError("its own")))
    assert not hanging()


def test_a_call_that_hangs_is_left_told_and_ended_at_its_next_step(caplog: pytest.LogCaptureFixture) -> None:
    """It is named in the log while it is waited for; when it comes back after all it does nothing more."""
    wakes, went_on = threading.Event(), list[str]()

    def hangs() -> None:
        begin("read", "/photos/a.png", "/photos")
        wakes.wait()
        begin("store", "the store")
        went_on.append("wrote")

    with caplog.at_level(logging.WARNING), pytest.raises(Unanswered, match=r"/photos/a\.png \(source /photos\)"):
        answer(hangs)
    assert "still waiting: /photos/a.png" in caplog.text
    assert [hang.what for hang in hanging("/photos")] == ["/photos/a.png"]
    wakes.set()
    end = time.monotonic() + 10
    while hanging():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not went_on


def test_a_call_that_goes_forward_is_not_left() -> None:
    """However long it takes in all, also beyond the deadline: each step has its time."""

    def goes_forward() -> str:
        for number in range(8):
            begin("read", str(number))
            time.sleep(0.15)
        return "done"

    assert answer(goes_forward) == "done"
    assert answer(goes_forward, deadline=time.time()) == "done"


def test_a_deadline_ends_the_wait_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after the deadline, what hangs is left, though it might be waited for much longer."""
    monkeypatch.setattr(calls, "SILENT_SECONDS", 1000.0)
    start = time.monotonic()
    with pytest.raises(Unanswered):
        answer(threading.Event().wait, deadline=time.time() + 0.5)
    assert 0.5 < time.monotonic() - start < 5


def test_what_came_before_a_hang_is_not_lost() -> None:
    """Of a folder that hangs in the middle, what was found by then comes out."""

    def items() -> Iterator[int]:
        yield from range(2500)
        threading.Event().wait()

    found = list[int]()
    with pytest.raises(Unanswered):
        found.extend(items_in_time(items(), stage="list", what="/photos", deadline=None))
    assert found == list(range(2500))


def test_a_thread_that_hangs_is_replaced() -> None:
    """The others of a pool go on with the work of one that hangs."""
    with Threads(1, "test") as pool:
        pool.submit(threading.Event().wait)
        waiting = pool.submit(lambda: 3)
        assert not threads.wait_for(waiting, 0.2)
        pool.replace()
        assert waiting.result(10) == 3


def test_time_away_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped for an hour has not waited for an hour."""
    now = [0.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: now[0])
    clock, unchanged = RunningClock(most=1.0), Unchanged(most=1.0)
    unchanged.seconds("sign", 1)
    for away in (0.5, 3600.0):
        now[0] += away
        clock.seconds()
    assert clock.last == 1.5
    assert unchanged.seconds("sign", 1) == 1.0
    assert unchanged.seconds("sign", 2) == 0.0


def test_a_forked_process_has_threads_of_its_own() -> None:
    """A fork of a process that has waited for something can wait as well."""
    answer(lambda: None)
    child = os.fork()
    if not child:
        os._exit(answer(lambda: 5))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


COMPUTING = """
import sys, time
import torch
from pixelmill.watch.threads import Threads

def compute():
    convolution, pixels, end = torch.nn.Conv2d(64, 64, 3), torch.randn(8, 64, 56, 56), time.monotonic() + 1
    while time.monotonic() < end:
        convolution(pixels)

threads = Threads(1, "decode")
threads.submit(compute)
time.sleep(0.3)
sys.exit(7)
"""


def test_a_process_ends_in_order_while_its_threads_compute() -> None:
    """What is at work is let finish: Python would tear PyTorch's threads down, and the process with them (SIGABRT)."""
    done = subprocess.run([sys.executable, "-c", COMPUTING], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (7, b"")

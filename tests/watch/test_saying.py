"""A log that says what goes on, every some seconds, however long it takes."""

from __future__ import annotations

import logging
import threading
from itertools import count

import pytest

from pixelmill.watch import saying as module
from pixelmill.watch.saying import Step, saying


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(module, "EVERY", 0.01)
    caplog.set_level(logging.INFO, "pixelmill")
    return caplog


def test_a_step_is_told_with_how_far_it_is_and_for_how_long() -> None:
    seconds = iter([100.0, 115.0, 300.0])
    images = count(1)
    step = Step("Looking at the sources", lambda: f"{next(images)} images", clock=lambda: next(seconds))
    assert str(step) == "Looking at the sources: 1 images, for 15 s now"
    assert str(step) == "Looking at the sources: 2 images, for 3 min now"


def test_what_takes_long_is_told_again_and_again(said: pytest.LogCaptureFixture) -> None:
    """The innermost block speaks, and one that is over says nothing more."""
    asked = {"outer": threading.Semaphore(0), "inner": threading.Semaphore(0)}

    def far(name: str) -> str:
        asked[name].release()
        return f"{name} goes on"

    def twice(name: str) -> None:
        for _ in range(2):
            assert asked[name].acquire(timeout=10)

    with saying("Outer", lambda: far("outer")):
        with saying("Inner", lambda: far("inner")):
            twice("inner")
        twice("outer")
    assert [thread for thread in threading.enumerate() if thread.name == "saying" and thread.join(10)] == []
    lines = [line.partition(",")[0] for line in said.messages]
    assert lines[:3] == ["Outer", "Inner", "Inner: inner goes on"]
    assert "Outer: outer goes on" in lines[3:]
    assert "Inner: inner goes on" not in lines[lines.index("Outer: outer goes on") :]


def test_nobody_is_told_where_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the command line, where only warnings are shown: no thread is started."""
    monkeypatch.setattr(logging.getLogger("pixelmill"), "level", logging.WARNING)
    monkeypatch.setattr(module.log, "level", logging.WARNING)
    with saying("Nothing"):
        assert not [thread for thread in threading.enumerate() if thread.name == "saying"]

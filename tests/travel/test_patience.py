"""A hand-over place that does not answer for a while costs time, and neither a night nor what was made."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pixelmill.errors import HandoverUnreachable, StoreError
from pixelmill.travel import patience
from pixelmill.travel.handover import FolderHandover, handover_at
from pixelmill.travel.patience import Outage, Patient


class Away(FolderHandover):
    """A folder that does not answer the first few times."""

    def __init__(self, folder: Path, times: int, error: type[StoreError] = HandoverUnreachable) -> None:
        super().__init__(folder)
        self.times, self.error, self.asked = times, error, 0

    def put(self, name: str, data: bytes) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error("It is away.")
        super().put(name, data)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSE", 0.01)


def test_it_is_asked_until_it_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is put arrives when the place is back; that it was away, and is back, is told once each."""
    place = Patient(Away(tmp_path, 3))
    with caplog.at_level(logging.WARNING):
        place.put("1/rows", b"x")
    assert place.get("1/rows") == b"x"
    assert [record.getMessage()[:18] for record in caplog.records] == ["It is away. It is ", "It answers again, "]


def test_patience_has_an_end(tmp_path: Path) -> None:
    """A place that stays away is given up after the seconds that were allowed, with its own words."""
    with pytest.raises(HandoverUnreachable, match=r"It is away\."):
        Patient(Away(tmp_path, 10**9), seconds=0.1).put("1/rows", b"x")


def test_what_does_not_pass_is_told_at_once(tmp_path: Path) -> None:
    """Nobody waits for a place that may not be written to, or is not there: that does not pass by itself."""
    away = Away(tmp_path, 10**9, StoreError)
    with pytest.raises(StoreError):
        Patient(away).put("1/rows", b"x")
    assert away.asked == 1
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as told:
        handover_at(str(tmp_path / "file" / "place")).put("1/rows", b"x")
    assert not isinstance(told.value, HandoverUnreachable)


def test_an_outage_is_over_when_it_answers() -> None:
    """How long it lasts is counted from its beginning; the next one is counted anew."""
    outage = Outage(OSError)
    for _ in range(2):
        with outage.noted():
            raise OSError("away")
        first = outage.seconds
        with outage.noted():
            raise OSError("still away")
        assert (first, outage.why) == (0.0, "still away")
        assert outage.seconds > 0
        with outage.noted():
            pass
        assert (outage.seconds, outage.why) == (0.0, "")

"""A run delivers what it has published, says so in its report, and is a good one whatever a target does."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixelmill.cli.run import _judged
from pixelmill.deliver import targets
from pixelmill.deliver.base import Changes
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation
from pixelmill.deliver.parquet import ParquetTarget
from pixelmill.deliver.record import on_record
from pixelmill.errors import DeliveryLeft, TargetUnavailable
from pixelmill.report.attention import end_of
from pixelmill.report.digest import Ended, digest
from pixelmill.report.history import recorded
from pixelmill.report.html import as_html
from pixelmill.report.markdown import as_markdown
from pixelmill.report.model import RunReport, read_report
from pixelmill.run import deliveries, retries
from pixelmill.run.deliveries import deliver_changes
from pixelmill.run.direct import here
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import HERE, preview, run
from pixelmill.store.ledger import Ledger
from pixelmill.watch import calls, hangs
from tests.support.delivered import rows_in
from tests.support.models import spec_of
from tests.support.numbered import OTHERS, content


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three pictures, and a delivery of their vectors."""
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    for name, number in zip("abc", OTHERS, strict=False):
        (tmp_path / "photos" / f"{name}.png").write_bytes(content(number))
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        deliveries=(to("search"),),
    )  # fmt: skip


def to(name: str, place: str = "out", **more: object) -> Delivery:
    return Delivery.model_validate(
        {"name": name, "to": f"parquet:{Path(place).absolute()}", "models": ("one",), "columns": ("format",), **more}
    )


def paths(name: str = "search") -> list[str]:
    """What readers see there."""
    return sorted(str(line["path"]) for line in rows_in("out", name).values())


def judged(report: RunReport, job: Job) -> str:
    return end_of(report, missing_source=job.missing_source, most=job.max_failure_rate).kind


def somebody_elses(name: str) -> None:
    """A folder of somebody else's under the name of a delivery, which is refused."""
    (Path("out") / name).mkdir(parents=True)
    (Path("out") / name / "theirs.txt").write_text("theirs")


def test_each_run_brings_the_target_up_to_date(job: Job, tmp_path: Path) -> None:
    """New, moved and removed pictures; a night that has found nothing delivers too, and has nothing to send."""
    report = run(job)
    assert paths() == ["a.png", "b.png", "c.png"]
    (told,) = report.deliveries
    assert (told.name, told.sent, told.deleted, told.behind, told.rows, told.is_anew) == ("search", 3, 0, 0, 3, True)
    assert list(report.steps)[-3:] == ["deliver", "report", "rest"]
    (tmp_path / "photos" / "c.png").rename(tmp_path / "photos" / "x.png")
    (tmp_path / "photos" / "b.png").unlink()
    (told,) = run(job).deliveries
    assert (told.sent, told.deleted, paths()) == (1, 1, ["a.png", "x.png"])
    (told,) = run(job).deliveries
    assert (told.sent, told.deleted, told.is_equal) == (0, 0, True)
    shutil.rmtree("out")
    (told,) = run(job).deliveries
    assert (told.sent, paths()) == (2, ["a.png", "x.png"]), "the target was behind, though nothing has changed here"


def test_the_report_tells_of_deliveries(job: Job) -> None:
    """In the browser, in a notebook, in a digest and for scripts; none of it where there are none."""
    report = run(job.model_copy(update={"deliveries": (to("search"), to("broken", models=("two",)))}))
    line = "| `broken` | `parquet:"
    assert "## Deliveries" in as_markdown(report)
    assert line in as_markdown(report)
    assert "<p><b>Deliveries</b></p>" in as_html(report)
    told = digest(Ended("photos", "Completed", "", "http://server/1", 0.0, 100.0), report)
    assert told.lists["Deliveries"][0].startswith("search: 3 rows sent, 0 deleted in ")
    assert told.lists["Deliveries"][1].startswith("broken: Expected a model with vectors in ")
    assert read_report(json.loads(json.dumps(report.as_json()))) == report
    before = {key: value for key, value in report.as_json().items() if key != "deliveries"}
    old = read_report(before)
    assert old is not None
    assert old.deliveries == ()
    assert "Deliveries" not in as_markdown(old)


def test_one_that_fails_costs_itself(job: Job) -> None:
    """The others are made, and the night has warnings: what failed, why, when it was last equal."""
    somebody_elses("broken")
    at = job.model_copy(update={"deliveries": (to("broken"), to("search"))})
    report = run(at)
    assert paths() == ["a.png", "b.png", "c.png"]
    (line,) = report.attention
    assert line.startswith("The delivery broken to parquet:")
    assert "theirs.txt, which none made" in line
    assert line.endswith("It was never equal yet.")
    assert (judged(report, at), report.ended, _judged(report, at)) == ("warnings", "done", 0)
    shutil.rmtree("out/broken")
    assert run(at).attention == ()
    shutil.rmtree("out/broken")
    somebody_elses("broken")
    assert "It was last equal to the store" in run(at).attention[0]


def test_one_that_is_required_fails_the_run(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """When all else is done, the others delivered, and the report kept."""
    somebody_elses("broken")
    at = job.model_copy(update={"deliveries": (to("broken", required=True), to("search", required=True))})
    report = run(at)
    assert paths() == ["a.png", "b.png", "c.png"]
    assert report.failure.startswith("All else is done and stored. The delivery broken, which is required, failed: ")
    assert (judged(report, at), report.ended, _judged(report, at)) == ("failed", "failed", 1)
    assert "Error: All else is done and stored." in capsys.readouterr().err
    with Ledger(at.store) as ledger:
        assert recorded(ledger, 1) == [report]


def test_a_night_that_takes_all_of_its_time_delivers(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published is delivered after the deadline, for two minutes; later it is told how far it is behind, and
    later still nothing is begun."""
    run(job.model_copy(update={"deliveries": ()}))
    late = job.model_copy(update={"deadline": time.time() - 1})
    (told,) = run(late).deliveries
    assert (told.sent, paths()) == (3, ["a.png", "b.png", "c.png"])
    (Path(job.sources[0]) / "d.png").write_bytes(content(OTHERS[3]))
    run(job.model_copy(update={"deliveries": ()}))
    monkeypatch.setattr(deliveries, "OVERTIME", 0.0)
    report = run(late.model_copy(update={"deadline": time.time() - 1}))
    (told,) = report.deliveries
    assert (told.sent, told.rows, told.problem) == (0, 3, "")
    assert told.behind
    assert "It was last equal to the store" in report.attention[0]
    monkeypatch.setattr(deliveries, "LATEST", 0.0)
    assert run(late.model_copy(update={"deadline": time.time() - 1})).deliveries[0].behind is None
    assert run(job).deliveries[0].sent == 1


class _Down:
    """A target that is down the first `times`; counts how often it was asked."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    def __call__(self, delivery: Delivery) -> ParquetTarget:
        self.asked += 1
        if self.asked <= self.times:
            raise TargetUnavailable("Expected an answer of the database. It is down.")
        return ParquetTarget(delivery)


@pytest.mark.parametrize(("times", "asked", "sent"), [(2, 3, 3), (9, 4, 0)])
def test_a_target_that_is_down_is_asked_again(
    job: Job, times: int, asked: int, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few times; the night goes on without it."""
    monkeypatch.setattr(retries, "pause", lambda _seconds: None)
    monkeypatch.setitem(targets._OPENERS, "parquet", down := _Down(times))
    report = run(job, here())
    assert (down.asked, report.deliveries[0].sent) == (asked, sent)
    assert bool(report.attention) is not bool(sent)


def test_at_the_deadline_it_is_asked_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it then."""
    run(job.model_copy(update={"deliveries": ()}))
    monkeypatch.setitem(targets._OPENERS, "parquet", down := _Down(9))
    with pytest.raises(DeliveryLeft, match="It is down") as left:
        here().deliver(job.model_copy(update={"deadline": time.time() - 1}), job.deliveries[0])
    assert down.asked == 1
    assert left.value.delivered == on_record(job.store)[0]


def test_a_target_that_hangs_does_not_hang_the_night(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left, told as a delivery, and the run is a good one. The next run does not wait for ever for what hangs
    still, and one delivers when the target is back."""
    monkeypatch.setattr(calls, "SILENT_SECONDS", 0.3)
    awake = threading.Event()

    class Hangs(ParquetTarget):
        def write(self, generation: Generation, changes: Changes) -> None:
            awake.wait(60)
            super().write(generation, changes)

    monkeypatch.setitem(targets._OPENERS, "parquet", Hangs)
    report = run(job)
    assert [hang.stage for hang in hangs.hanging()] == [hangs.DELIVERING]
    assert (report.hung, report.failure, judged(report, job)) == ((), "", "warnings")
    assert "There was none for" in report.attention[0]
    monkeypatch.setattr(deliveries, "PATIENCE", 0.5)
    again = run(job)
    assert (again.hung, again.failure, judged(again, job)) == ((), "", "warnings")
    assert "Another process, or one before in this, has been at it" in again.attention[0]
    awake.set()
    monkeypatch.setattr(calls, "SILENT_SECONDS", 60.0)
    assert run(job).deliveries[0].is_equal
    assert paths() == ["a.png", "b.png", "c.png"]


class Interrupted(KeyboardInterrupt):
    """What a signal does outside."""


@pytest.fixture
def terminated() -> Iterator[None]:
    """SIGTERM is an exception here, as it is for a command and for a flow."""

    def end(_number: int, _frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("terminated")
def test_a_run_that_is_stopped_leaves_its_deliveries(job: Job) -> None:
    """Whoever stops it waits for none; those made by then are told, and the next run makes the rest."""
    at = job.model_copy(update={"deliveries": (to("first"), to("search"), to("third"))})

    def stopped(job: Job, delivery: Delivery) -> object:
        if delivery.name == "search":
            os.kill(os.getpid(), signal.SIGTERM)
        return deliver_changes(job, delivery)

    with pytest.raises(Interrupted):
        run(at, replace(HERE, deliver=stopped))  # type: ignore[arg-type]
    with Ledger(at.store) as ledger:
        (report,) = recorded(ledger, 1)
    assert [(told.name, told.sent, told.behind) for told in report.deliveries] == [
        ("first", 3, 0), ("search", 0, None), ("third", 0, None),
    ]  # fmt: skip
    assert report.ended == "cancelled"
    assert [told.sent for told in run(at).deliveries] == [0, 3, 3]


def test_a_run_that_failed_tells_of_what_it_delivered(job: Job) -> None:
    """A second delivery in which the run itself dies leaves the first in its report."""
    at = job.model_copy(update={"deliveries": (to("first"), to("search"))})

    def dies(job: Job, delivery: Delivery) -> object:
        if delivery.name == "search":
            raise MemoryError
        return deliver_changes(job, delivery)

    with pytest.raises(MemoryError):
        run(at, replace(HERE, deliver=dies))  # type: ignore[arg-type]
    with Ledger(at.store) as ledger:
        (report,) = recorded(ledger, 1)
    assert ([told.name for told in report.deliveries], report.ended) == (["first"], "failed")


def test_a_dry_run_delivers_nothing(job: Job) -> None:
    """Nor does it ask the target: `pixelmill deliver --dry-run` does."""
    preview(job)
    run(job.model_copy(update={"deliveries": ()}))
    preview(job)
    assert not Path("out").exists()
    assert on_record(job.store) == []


def test_what_is_delivered_is_in_the_log(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    """As each step that takes long, and what came of it."""
    with caplog.at_level(logging.INFO, "pixelmill"):
        run(job)
    assert "Delivering search" in caplog.messages
    assert any(said.startswith("search: 3 rows sent") for said in caplog.messages)

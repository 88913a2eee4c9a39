"""Which nights somebody has to look at, and what their states say: decided from a report alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows._ends import in_words
from pixelmill.choices import MissingSource
from pixelmill.cli.main import DONE, FAILED, TOO_MANY_REFUSED
from pixelmill.cli.run import _judged
from pixelmill.report.attention import End, attention, end_of
from pixelmill.report.model import ImageCounts, ModelReport, RunReport, SelfCheck
from pixelmill.report.text import headline, in_short, share_in_short
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.results import ShardReport
from pixelmill.run.unreadable import GONE, UnreadableSource
from pixelmill.store.rows import FailureGroup

AWAY = UnreadableSource(source="/photos", images=500, unread=191, why=GONE)
TOLD = "191 of 500 images of /photos could not be read: the source is gone."
COUNTS = dict.fromkeys(ImageCounts.model_fields, 0)


def report(*, embedded: int = 140, pending: int = 0, models: int = 1, **more: Any) -> RunReport:
    """Of a night with 146 new images of 500, of which six were refused."""
    model = ModelReport(
        embedded=embedded, pending=pending, quarantined=6, dim=4, device="cpu", precision="float32", decode="fast",
        images_per_second=9.0, dataset="a",
    )  # fmt: skip
    given: dict[str, Any] = {
        "images": ImageCounts(**{**COUNTS, "seen": 500, "new": 146, "quarantined": 6}),
        "failures": (FailureGroup("decode", "broken", 6, 0, ()),),
        "sources": {"/photos": 500},
    }
    return RunReport(
        store="store", started="2026-05-01T22:00:00+00:00", seconds=60.0,
        models={f"model{n}": model for n in range(models)}, **given | more,
    )  # fmt: skip


def judged(told: RunReport, missing_source: MissingSource = "warn") -> End:
    told = told.model_copy(update={"attention": attention(told, ())})
    return end_of(told, missing_source=missing_source, most=0.05)


def test_a_good_night_says_what_it_did() -> None:
    """New, embedded, quarantined; of several models it is vectors; nothing new is said in words."""
    assert judged(report()) == End("done")
    assert in_words(report(), End("done")) == "146 new, 140 embedded, 6 quarantined."
    assert in_short(report(models=2)) == "146 new, 280 vectors embedded, 6 quarantined."
    idle = report(embedded=0, images=ImageCounts(**{**COUNTS, "seen": 500}), failures=())
    assert in_short(idle) == "Nothing new. All 500 images are embedded with model0."
    assert in_short(idle.model_copy(update={"ended": "failed"})) == in_short(idle), "the state says that it failed"


def test_a_night_that_the_deadline_ended_says_so() -> None:
    """What is left is counted, with why; that is nothing to be told of."""
    cut = report(embedded=40, pending=100)
    assert judged(cut) == End("done")
    assert in_words(cut, End("done"), is_cut_short=True) == (
        "146 new, 40 embedded, 6 quarantined, 100 pending. The deadline came; the next run does the rest."
    )


def test_a_source_that_went_away_is_told_in_one_line() -> None:
    """With warnings, or failed where the settings say so; how many images may fail is another question."""
    away = report(unreadable=(AWAY,), failure_rate=0.38, exceeded_failure_rate=True)
    assert judged(away) == End("warnings", TOLD)
    assert judged(away, "fail") == End("failed", TOLD)
    assert in_words(away, judged(away)) == f"146 new, 140 embedded, 6 quarantined. {TOLD}"


def test_too_many_refused_are_refused() -> None:
    """Where every source could be read, `max_failure_rate` decides, whatever `missing_source` is."""
    refused = report(failure_rate=0.5, exceeded_failure_rate=True)
    for setting in ("warn", "fail"):
        end = judged(refused, setting)  # type: ignore[arg-type]
        assert end.kind == "refused"
        assert "50% of the images were refused" in end.words


def test_a_run_that_saw_nothing_has_failed() -> None:
    """Its own words, whatever else is to be said."""
    nothing = report(failure="Expected images in the sources.", unreadable=(AWAY,))
    assert judged(nothing) == End("failed", "Expected images in the sources.")


@pytest.mark.parametrize("why", ["lost", "drift", "shrunk"])
def test_what_else_a_morning_must_not_overlook(why: str) -> None:
    """A worker that was lost, a model that makes other vectors, a source with far fewer images than the night before."""
    check = SelfCheck(compared=16, least_cosine=0.9, sound=False)
    told = report(self_check={"model0": check} if why == "drift" else {})
    before = [report(sources={"/photos": 5000})] if why == "shrunk" else []
    (line,) = attention(told, before, ["Worker one was lost: it died."] if why == "lost" else [])
    expected = {"lost": "Worker one was lost", "drift": "does not make what is stored", "shrunk": "has shrunk"}
    assert expected[why] in line


def test_many_lines_are_few() -> None:
    """A state says the first three, and how many more the report has."""
    many = report(attention=tuple(f"Line {n}." for n in range(9)))
    end = end_of(many, missing_source="warn", most=0.05)
    assert end == End("warnings", "Line 0. Line 1. Line 2. The report has 6 more.")


def test_a_run_that_looked_at_nothing_says_only_why() -> None:
    """It counts nothing, and its headline is why."""
    late = report(images=ImageCounts(**COUNTS), models=0, sources={}, failures=(), attention=("It began late.",))
    assert in_words(late, end_of(late, missing_source="fail", most=0.05)) == "It began late."
    assert headline(late) == "It began late."


def test_a_workers_share_in_short() -> None:
    """What it read, made, refused and could not read, over all its shards."""
    did = ShardReport(read=48, refused=1, embedded={"a": 47}, unread=("/p/x.png: broken",))
    assert share_in_short([did, did]) == "96 read, 94 embedded with a, 2 quarantined, 2 could not be read."
    assert share_in_short([]) == "Nothing was left to do."


@pytest.mark.parametrize(
    ("told", "missing_source", "code"),
    [
        (report(), "warn", DONE),
        (report(unreadable=(AWAY,), attention=(TOLD,)), "warn", DONE),
        (report(unreadable=(AWAY,), attention=(TOLD,)), "fail", FAILED),
        (report(unreadable=(AWAY,), attention=(TOLD,), exceeded_failure_rate=True), "warn", TOO_MANY_REFUSED),
        (report(unreadable=(AWAY,), attention=(TOLD,), exceeded_failure_rate=True), "fail", FAILED),
        (report(exceeded_failure_rate=True), "warn", TOO_MANY_REFUSED),
        (report(failure="Nothing."), "warn", FAILED),
    ],
)
def test_exit_codes(
    told: RunReport, missing_source: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """Those of the command, with the words on stderr: as the state in Prefect, but that more unread images than may be
    are told by their own code."""
    job = Job(sources=("photos",), store=tmp_path, specs=(), cache=CacheSpec(), missing_source=missing_source)
    assert _judged(told, job) == code
    assert (TOLD in capsys.readouterr().err) is (TOLD in told.attention)

"""Every run that ends leaves a report: what it has come to, where the time went, how it ended and why."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixelmill.cli.main import main
from pixelmill.errors import EmbeddingFailed, StoreBusy, WorkersLost
from pixelmill.report.history import comparable, night, notable, recorded, usual
from pixelmill.report.markdown import as_markdown
from pixelmill.report.model import RunReport
from pixelmill.report.text import headline
from pixelmill.run.course import REST, Course
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.share import do_here, embed_and_store
from pixelmill.run.steps import HERE, Steps, run
from pixelmill.store.ledger import Ledger
from tests.conftest import SavePicture
from tests.support.models import spec_of

IMAGES, SHARD = 8, 4


class Terminated(BaseException):
    """As Prefect's TerminationSignal: no `Exception`."""


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    """A run over eight pictures in shards of four, with one model."""
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache={"cache_dir": tmp_path / "cache"}, precision="float32", shard_size=SHARD, max_pixels=10**8,
        max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def kept(job: Job) -> list[RunReport]:
    with Ledger(job.store) as ledger:
        return recorded(ledger, 10)


def ending(error: BaseException, after: int = 1) -> Callable[[RunOrders, Intake], dict[str, str]]:
    """Embed until so many shards are stored; then comes `error`."""

    def embed(orders: RunOrders, intake: Intake) -> dict[str, str]:
        def one(*given: Any) -> Any:
            if len(intake.done) == after:
                raise error
            return embed_and_store(*given)

        do_here(orders, intake, embed=one)
        return {}

    return embed


@pytest.mark.parametrize(
    ("error", "ended", "words"),
    [
        (EmbeddingFailed("The model gives\nno vectors."), "failed", "The model gives no vectors."),
        (KeyboardInterrupt(), "cancelled", "It was asked to stop."),
        (SystemExit(1), "cancelled", "It was asked to stop."),
        (Terminated(), "cancelled", "It was asked to stop."),
        (TimeoutError("cancelled by name"), "cancelled", "It was asked to stop."),
    ],
    ids=repr,
)
def test_what_ends_a_run_is_raised_and_told(job: Job, error: BaseException, ended: str, words: str) -> None:
    """With what was embedded until then, what waits, and the seconds of each step; it is also shown."""
    shown: list[RunReport] = []
    steps = Steps(embed=ending(error), show=lambda _job, report: shown.append(report), stops=(TimeoutError,))
    with pytest.raises(type(error)) as raised:
        run(job, steps)
    assert raised.value is error
    (report,) = kept(job)
    assert shown == [report]
    assert (report.ended, report.error, report.failure) == (ended, words, "")
    assert (report.models["one"].embedded, report.models["one"].pending) == (SHARD, IMAGES - SHARD)
    assert report.images.seen == IMAGES
    assert list(report.steps) == ["turn", "discover", "weights", "plan", "embed", REST]
    assert headline(report).startswith(f"{ended.capitalize()}. 4 vectors made in ")
    assert words in as_markdown(report)


def test_a_run_that_a_signal_brings_to_its_end_was_cancelled(job: Job) -> None:
    """Though it has stored, published and told of what it did; then the signal has its effect."""

    def embed(orders: RunOrders, intake: Intake) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGINT)
        return HERE.embed(orders, intake)

    with pytest.raises(KeyboardInterrupt):
        run(job, Steps(embed=embed))
    (report,) = kept(job)
    assert (report.ended, report.error) == ("cancelled", "It was asked to stop.")
    assert (report.images.new, report.models["one"].embedded + report.models["one"].pending) == (0, IMAGES)


def test_the_next_run_tells_what_a_failed_one_found(job: Job) -> None:
    """Nothing that it did not publish is settled, and what waited is embedded; the history shows how it ended."""
    with pytest.raises(KeyboardInterrupt):
        run(job, Steps(embed=ending(KeyboardInterrupt())))
    report = run(job)
    assert (report.ended, report.error, report.images.new) == ("done", "", IMAGES)
    assert (report.models["one"].embedded, report.models["one"].pending) == (IMAGES - SHARD, 0)
    assert [(night.ended, night.embedded, night.pending) for night in report.nights] == [("cancelled", SHARD, SHARD)]
    assert "| cancelled |" in as_markdown(report)


@pytest.mark.parametrize("step", ["discover", "fetch", "plan", "embed", "publish", "report"])
def test_a_run_may_fail_at_any_step(job: Job, step: str) -> None:
    """Each configured model is in its report, with what waits of what was seen."""

    def fails(*_: object) -> Any:
        raise OSError(5, "Input/output error")

    run(job.model_copy(update={"sources": (f"{job.sources[0]}/0.png",)}))  # there is a store
    with pytest.raises(OSError, match="Input/output error"):
        run(job, replace(HERE, **{step: fails}))
    report = kept(job)[0]
    assert (report.ended, report.error) == ("failed", "Input/output error")
    seen = 0 if step == "discover" else IMAGES
    embedded = IMAGES - 1 if step in ("publish", "report") else 0
    assert report.images.seen == seen
    assert report.models["one"].embedded == embedded
    assert report.models["one"].pending == (IMAGES - 1 - embedded if seen else 0)


def test_nothing_is_made_for_a_report(job: Job) -> None:
    """Where there is no store, a run that fails makes none."""

    def fails(*_: object) -> Any:
        raise OSError("the disk is away")

    with pytest.raises(OSError, match="the disk is away"):
        run(job, Steps(discover=fails))
    assert not (job.store / "vectors.h5").exists()


@pytest.mark.parametrize("error", [ValueError("a bug"), StoreBusy("busy")], ids=repr)
def test_a_report_that_cannot_be_kept_hides_nothing(
    job: Job, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the run is raised, whatever becomes of its report; nobody waits for a busy store once more."""
    asked: list[str] = []

    def broken(*_: object, **__: object) -> Any:
        asked.append("report")
        raise OSError("the disk is full")

    monkeypatch.setattr("pixelmill.run.steps.report_end", broken)
    with pytest.raises(type(error)) as raised:
        run(job, Steps(embed=ending(error)))
    assert raised.value is error
    assert len(asked) == isinstance(error, ValueError)


def test_a_run_whose_workers_were_lost_has_failed(job: Job) -> None:
    """It came to its end, and says what the error says."""
    cluster = job.model_copy(update={"fan_out": "dask"})
    with pytest.raises(WorkersLost) as raised:
        run(
            cluster, Steps(embed=lambda _orders, _intake: {"dask": "No process of the cluster could be reached: gone."})
        )
    (report,) = kept(job)
    assert (report.ended, report.error) == ("failed", str(raised.value))
    assert report.models["one"].pending == IMAGES


def test_the_steps_add_up(job: Job) -> None:
    """To the tenth of a second that is told, with the rest; each step has its own."""
    report = run(job)
    assert list(report.steps) == ["turn", "discover", "weights", "plan", "embed", "publish", "report", REST]
    assert round(sum(report.steps.values()), 2) == report.seconds
    assert min(report.steps.values()) >= 0
    course = Course()
    with course.step("plan"):
        time.sleep(0.02)
    with course.step("plan"):
        time.sleep(0.02)
        seconds, steps = course.seconds()
    assert steps["plan"] >= 0.04
    assert sum(steps.values()) == pytest.approx(seconds)


def killed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose process ends after its first shard, without a word."""
    with monkeypatch.context() as patches:
        patches.setattr("pixelmill.run.steps._tell", lambda *_: None)
        with pytest.raises(Terminated):
            run(job, Steps(embed=ending(Terminated())))


def test_a_run_that_was_killed_is_told_by_the_next(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is on record of it: when it began, what it had seen and stored, what waits."""
    killed(job, monkeypatch)
    assert kept(job) == []
    report = run(job)
    _, cut_off = kept(job)
    assert (cut_off.ended, cut_off.images.seen, cut_off.sources) == ("cut off", IMAGES, {job.sources[0]: IMAGES})
    assert (cut_off.models["one"].embedded, cut_off.models["one"].pending) == (SHARD, IMAGES - SHARD)
    assert "when 4 vectors of it had been stored" in cut_off.error
    assert cut_off.seconds == round(sum(cut_off.steps.values()), 1)
    assert [warning for warning in report.warnings if "was cut off. It ended without a word" in warning]
    assert [night.ended for night in report.nights] == ["cut off"]
    assert (report.images.new, report.ended) == (IMAGES, "done")
    run(job)
    assert [report.ended for report in kept(job)] == ["done", "done", "cut off"]


def test_pixelmill_report_tells_of_a_run_that_was_killed(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any other run does; nothing is written for it."""
    killed(job, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(job.store)])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Cut off. 4 vectors made in" in told
    assert "It ended without a word" in told
    assert kept(job) == []


def test_a_run_that_lives_is_not_cut_off(job: Job) -> None:
    """Another one beside it tells nothing of it; nor does a second try of its own first step."""

    def discover(asked: Job, started: float) -> Any:
        HERE.discover(asked, started)
        scan = HERE.discover(asked, started)
        HERE.discover(asked, started + 1)  # another one, which has nothing to tell
        return scan

    report = run(job, replace(HERE, discover=discover))
    assert [told.ended for told in kept(job)] == ["done"]
    assert not report.warnings


@pytest.mark.parametrize("ended", ["failed", "cancelled", "cut off"])
def test_what_failed_is_nothing_to_compare_with(job: Job, ended: str) -> None:
    """It neither makes the next night stand out, nor hides what does; the history shows it."""
    report = run(job)
    root = job.sources[0]
    more = report.model_copy(update={"sources": {root: 100}})
    failed = report.model_copy(update={"sources": {root: 100}, "ended": ended})
    assert notable(report, [more]) == [f"{root} has shrunk: 8 images; the run before saw 100."]
    assert notable(report, usual([failed, report])) == []
    assert notable(report, usual([failed, more])) == notable(report, [more])
    nowhere = failed.model_copy(update={"sources": {}})
    assert comparable(report, [failed, nowhere, report.model_copy(update={"sources": {}})]) == [failed, nowhere]


def test_a_night_knows_how_it_ended(job: Job) -> None:
    """As its report; reports of before said nothing of it, and were done."""
    report = run(job)
    assert night(report.model_copy(update={"ended": "failed"})).ended == "failed"
    old = {key: value for key, value in report.as_json().items() if key not in ("ended", "error", "steps")}
    assert RunReport.model_validate(old).ended == "done"


def test_words_for_an_error_without_any() -> None:
    """Its type says what it is; of a signal people are told what it means, and of a run that left work also why."""
    course = Course()
    course.end(AssertionError())
    assert (course.ended, course.error) == ("failed", "AssertionError")
    course.end(KeyboardInterrupt(), is_cancelled=True)
    assert (course.ended, course.error) == ("cancelled", "It was asked to stop.")
    course.end(WorkersLost("Worker a was lost."), is_cancelled=True)
    assert (course.ended, course.error) == ("cancelled", "Worker a was lost.")

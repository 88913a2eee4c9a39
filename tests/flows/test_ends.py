"""How runs end in Prefect: which state, with which words; looked up at a real API."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows._ends import WITH_WARNINGS, reported
from flows.index import index
from flows.maintain import maintain
from flows.vectorize import AS_TASKS, vectorize
from pixelmill.deliver import targets
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.parquet import ParquetTarget
from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryFailed, SourceError, TargetUnavailable, TooManyRefused
from pixelmill.report.deliveries import failure
from pixelmill.report.markdown import plain
from pixelmill.report.model import ImageCounts, RunReport
from pixelmill.run.retries import DELIVERY
from pixelmill.run.unreadable import EMPTY, UnreadableSource
from pixelmill.store.readonly import ledger_of
from settings import load_settings
from settings.job import make_job
from tasks._artifacts import key_of
from tasks.deliver import deliver_changes
from tests.conftest import SavePicture
from tests.support.artifacts import artifacts_of
from tests.support.delivered import rows_in, settings

pytestmark = pytest.mark.usefixtures("prefect_api")
MODEL = "efficientnet_lite0"
COUNTS = ImageCounts(**dict.fromkeys(ImageCounts.model_fields, 0) | {"seen": 500})
NIGHT = RunReport(
    store="store", started="2026-05-01T22:00:00+00:00", seconds=1, sources={"/photos": 500}, images=COUNTS, models={}
)


def end(report: RunReport, **run: Any) -> Any:
    """The state with which a run ends that leaves a report."""
    state: Any = reported(report, make_job(load_settings(overrides={"run": run}), ["/photos"]))
    return state


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a run of a deployment."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "made up")


@pytest.mark.usefixtures("deployed")
def test_a_deployed_run_that_refuses_too_many_fails() -> None:
    """Its state says what it did, why, and what to do; who asks for its result gets the error."""
    state = end(NIGHT.model_copy(update={"failure_rate": 0.5, "exceeded_failure_rate": True}))
    assert state.is_failed()
    assert state.message.startswith("Nothing new. All 500 images are embedded")
    assert "50% of the images were refused" in state.message
    with pytest.raises(TooManyRefused, match=r"max_failure_rate is 5%.*quarantine store"):
        state.result()
    with pytest.raises(SourceError, match="nothing could be read"):
        end(NIGHT.model_copy(update={"failure": "nothing could be read"})).result()


@pytest.mark.usefixtures("deployed")
def test_a_missing_source_warns_or_fails_as_the_settings_say() -> None:
    """CompletedWithWarnings, with the report; or Failed. Both say it."""
    away = UnreadableSource(source="/photos", images=500, unread=500, why=EMPTY)
    night = NIGHT.model_copy(update={"unreadable": (away,), "attention": (str(away),)})
    warned, failed = end(night), end(night, missing_source="fail")
    assert (warned.name, warned.is_completed(), warned.result()) == (WITH_WARNINGS, True, night)
    assert failed.name == "Failed"
    for state in (warned, failed):
        assert state.message.endswith("500 of 500 images of /photos could not be read: the source is empty.")


@pytest.mark.usefixtures("deployed")
def test_a_delivery_that_is_required_fails_a_deployed_run() -> None:
    """Its state says which, and why; who asks for its result gets the error."""
    done = (Delivered(name="search", to="parquet:/out", required=True, problem="The disk is full"),)
    state = end(NIGHT.model_copy(update={"deliveries": done, "failure": failure(done)}))
    assert state.is_failed()
    assert "The delivery search, which is required, failed: The disk is full. The next run tries" in state.message
    with pytest.raises(DeliveryFailed, match="The disk is full"):
        state.result()


def test_the_command_gets_its_report_whatever_the_end() -> None:
    """It has exit codes for it; the state in Prefect is not plainly Completed all the same."""
    bad = NIGHT.model_copy(update={"failure_rate": 0.5, "exceeded_failure_rate": True})
    state = end(bad)
    assert (state.name, state.result()) == (WITH_WARNINGS, bad)


def test_every_state_says_what_was_done(tmp_path: Path, save_picture: SavePicture) -> None:
    """A dry run, a run, one with nothing new, and one beside a source that is gone; the caller gets the report."""
    for seed in range(3):
        save_picture(tmp_path / "photos" / f"{seed}.png", seed)
        save_picture(tmp_path / "scans" / f"{seed}.png", 10 + seed)
    (tmp_path / "photos" / "page.jpg").write_text("<html></html>")
    sources = [str(tmp_path / "photos"), str(tmp_path / "scans")]
    Path("pixelmill.toml").write_text("[run]\nmax_failure_rate = 0.5\n")
    dry = vectorize(sources, store="store", dry_run=True, return_state=True)
    assert dry.message == "A run would embed 7 of 7 images."
    first = vectorize(sources, store="store", precision="float32", return_state=True)
    assert (first.name, first.message) == ("Completed", "7 new, 6 embedded, 1 quarantined.")
    assert first.result().models[MODEL].embedded == 6
    again = vectorize(sources, store="store", return_state=True)
    assert again.message == f"Nothing new. 6 of 7 images are embedded with {MODEL}; 1 in quarantine."
    shutil.rmtree(tmp_path / "photos")
    gone = vectorize(sources, store="store", return_state=True)
    told = f"4 of 4 images of {sources[0]} could not be read: the source is gone."
    assert (gone.name, gone.message) == (WITH_WARNINGS, f"Nothing new. All 3 images are embedded with {MODEL}. {told}")
    assert plain(told) in artifacts_of(gone)[key_of("report", "store")]


def test_a_run_delivers_and_says_what_it_could_not(
    tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tasks of their own, each tried again where that may help. What fails costs a warning, with its words."""
    save_picture(tmp_path / "photos" / "a.png")
    settings("search", "down", models=(MODEL,))
    tried = deliver_changes.with_options(retry_delay_seconds=0, retry_jitter_factor=None)
    monkeypatch.setattr("flows.vectorize.AS_TASKS", replace(AS_TASKS, deliver=tried))
    asked: list[str] = []

    def opened(delivery: Delivery) -> ParquetTarget:
        asked.append(delivery.name)
        if delivery.name == "down":
            raise TargetUnavailable("Expected an answer. The database is down.")
        return ParquetTarget(delivery)

    monkeypatch.setitem(targets._OPENERS, "parquet", opened)
    told = vectorize([str(tmp_path / "photos")], store="store", precision="float32", return_state=True)
    assert told.name == WITH_WARNINGS
    assert "The delivery down to parquet:" in told.message
    assert "The database is down. It was never equal yet." in told.message
    assert asked == ["search", *["down"] * (len(DELIVERY.pauses) + 1)]
    assert [done.sent for done in told.result().deliveries] == [1, 0]
    assert len(rows_in("out", "search")) == 1
    assert "## Deliveries" in artifacts_of(told)[key_of("report", "store")]


def test_a_night_that_begins_after_its_deadline_ends_at_once(
    tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is looked at, no weights are fetched; the store keeps the report, and the next run tells what is new."""
    save_picture(tmp_path / "photos" / "a.png")
    night = datetime.now().astimezone() - timedelta(hours=2)
    monkeypatch.setattr("flows.vectorize.due_from", lambda: night)
    late = vectorize([str(tmp_path / "photos")], store="store", deadline="90m", return_state=True)
    assert late.name == WITH_WARNINGS
    assert late.message.startswith("It began at ")
    assert "after its deadline at" in late.message
    assert "after its deadline" in artifacts_of(late)[key_of("report", "store")]
    with ledger_of(Path("store")) as ledger:
        assert ledger
        assert ledger.runs.last(1)[0]["attention"] == [late.message]
        assert ledger.runs.last_finished() is None
    monkeypatch.setattr("flows.vectorize.due_from", lambda: None)
    assert vectorize([str(tmp_path / "photos")], store="store", deadline="90m").images.new == 1


@pytest.mark.parametrize("flow", [maintain, index])
def test_a_store_that_is_not_there_yet_is_nothing_to_look_after(flow: Any, tmp_path: Path) -> None:
    """On a fresh installation both end well, with a word, and make nothing."""
    state = flow(store=str(tmp_path / "store"), return_state=True)
    assert (state.name, state.result()) == ("Completed", {})
    assert state.message == (
        f"There is no store in {tmp_path}/store yet, so there is nothing to do: the first run makes it."
    )
    assert not (tmp_path / "store").exists()

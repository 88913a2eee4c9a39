"""A run in this process, without Prefect."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pixelmill.errors import SettingsError, StoreBusy
from pixelmill.run import direct, retries, steps
from pixelmill.run.job import Job
from pixelmill.run.loaded import _loaded
from pixelmill.store.ledger import Ledger
from pixelmill.store.runs import Runs
from settings import load_settings
from settings.job import make_job
from tests.conftest import SavePicture

MODEL = "efficientnet_lite0"


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    for seed in range(3):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return make_job(load_settings(None, {"run": {"precision": "float32"}}), ["photos"])


def test_a_run_here_embeds_reports_and_lets_its_models_go(job: Job) -> None:
    """What the Python API builds on: no server, no settings, no command line."""
    report = direct.run_here(job)
    assert (report.images.new, report.models[MODEL].embedded, report.models[MODEL].pending) == (3, 3, 0)
    assert not _loaded
    again = direct.run_here(job)
    assert (again.images.new, again.models[MODEL].embedded) == (0, 0)


def test_what_others_have_to_do_is_refused(job: Job) -> None:
    """Prefect starts workers."""
    with pytest.raises(SettingsError, match=r'Expected fan_out = "inline".*Got "workers".*--prefect'):
        direct.run_here(job.model_copy(update={"fan_out": "workers"}))
    assert not job.store.exists()


@pytest.mark.parametrize(
    ("where", "step"),
    [
        (steps, "discover_images"), (steps, "plan_work"), (direct, "embed_and_store"), (steps, "publish_changes"),
        (Runs, "record"),
    ],
)  # fmt: skip
def test_a_step_that_fails_once_is_done_again(
    job: Job, where: object, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After it did its work, which is the worst moment: nothing is counted or kept twice."""
    monkeypatch.setattr(retries, "pause", lambda _seconds: None)
    real, failures = getattr(where, step), [StoreBusy("a backup keeps the ledger locked")]

    def fails_once(*args: Any, **named: Any) -> Any:
        done = real(*args, **named)
        if failures:
            raise failures.pop()
        return done

    monkeypatch.setattr(where, step, fails_once)
    with caplog.at_level(logging.WARNING):
        report = direct.run_here(job)
    assert "is tried again in" in caplog.text
    assert (report.images.new, report.models[MODEL].pending) == (3, 0)
    with Ledger(job.store) as ledger:
        assert len(ledger.runs.last()) == 1

"""A flow run that is cancelled ends as Cancelled, with what it has embedded stored, published and reported."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import Cancelling

from flows._stopping import cancelled_in_order
from flows.vectorize import vectorize
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.intake import Intake
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from tests.conftest import SavePicture

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]
MODEL, IMAGES = "efficientnet_lite0", 9


def test_a_flow_run_that_is_cancelled(
    tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """As Prefect's worker does it: SIGTERM to the process of a run that is Cancelling. It has not crashed."""
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    (tmp_path / "pixelmill.toml").write_text('[run]\nshard_size = 3\nprecision = "float32"')
    runs: list[UUID] = []
    take = Intake.take

    def take_and_cancel(intake: Intake, answer: ShardAnswer) -> None:
        take(intake, answer)
        if not runs:
            runs.append(UUID(flow_run.id))
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(runs[0], Cancelling())
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Intake, "take", take_and_cancel)
    given: dict[str, Any] = {"store": "store", "config": "pixelmill.toml"}
    state: Any = vectorize([str(tmp_path / "photos")], **given, return_state=True)
    assert state.is_cancelled()
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(runs[0]).state.name == "Cancelled"
        names = {found.name for found in client.read_flow_run_states(runs[0])}
    assert names == {"Pending", "Running", "Cancelling", "Cancelled"}
    assert int(Store(Path("store"))[MODEL].embedded.sum()) == 3
    assert Store(Path("store")).models == [MODEL]
    with Ledger(Path("store")) as ledger:
        (kept,) = ledger.runs.last()
    assert (kept["ended"], kept["models"][MODEL]["embedded"]) == ("cancelled", 3)
    report = vectorize([str(tmp_path / "photos")], **given)
    assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (IMAGES - 3, 0)


def test_a_cancelled_run_is_no_accident_of_the_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """The process that a worker starts for a run logs no traceback of Prefect's for it; of what is one, it does."""
    monkeypatch.setattr("flows._stopping._is_to_be_cancelled", lambda: True)

    @flow(name="stopped")
    @cancelled_in_order
    def stopped(error: str) -> None:
        raise {"stop": TerminationSignal(signal.SIGTERM), "fail": OSError("no disk")}[error]

    of_runs = logging.getLogger("prefect.flow_runs")
    caplog.set_level(logging.ERROR, of_runs.name)
    for error, raised in (("stop", CancelledRun), ("fail", OSError)):
        with pytest.raises(raised):
            run_flow(stopped, parameters={"error": error}, error_logger=of_runs)
    told = [record for record in caplog.records if record.message.startswith("Engine execution exited")]
    assert [record.exc_info and record.exc_info[0] for record in told] == [OSError]

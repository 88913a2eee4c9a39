"""The flow that brings targets level with a store, by a real API."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import TerminationSignal

from flows._ends import WITH_WARNINGS, delivered
from flows.deliver import deliver
from pixelmill.deliver import base, targets
from pixelmill.deliver.base import Changes
from pixelmill.deliver.generation import Generation
from pixelmill.deliver.parquet import ParquetTarget
from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryFailed, SettingsError
from tasks._artifacts import key_of
from tests.support.artifacts import artifacts_of
from tests.support.delivered import BLOCK, ROWS, rows_in, settings, small_store, store_of_blocks

pytestmark = pytest.mark.usefixtures("prefect_api")


def test_deliveries_are_made_and_told() -> None:
    """All of the settings, or those that are named; the state says what was done, and an artifact."""
    store = small_store()
    settings("search", "other")
    state = deliver(names=["search"], return_state=True)
    assert state.message.startswith("search: 50 rows sent, 0 deleted in ")
    assert "search: 50 rows sent" in artifacts_of(state)[key_of("deliver", store.absolute())]
    assert not Path("out/other").exists()
    state = deliver(return_state=True)
    assert state.message.startswith("search: Nothing to send. 50 rows, equal to revision ")
    assert [done.sent for done in state.result()] == [0, 50]
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(state.state_details.flow_run_id)))
    assert (run.name, run.tags) == ("deliver store", ["store"])


def test_one_that_fails_fails_the_run_when_all_are_made() -> None:
    """With which it was, and why; a misspelt name is told before."""
    small_store()
    settings("broken", "search")
    Path("out/broken").mkdir(parents=True)
    Path("out/broken/theirs.txt").write_text("somebody else's")
    state = deliver(return_state=True)
    assert state.is_failed()
    assert state.message.startswith("broken: Expected ")
    assert "search: 50 rows sent" in state.message
    assert len(rows_in("out", "search")) == 50
    with pytest.raises(DeliveryFailed, match=r"theirs\.txt"):
        state.result()
    with pytest.raises(SettingsError, match="Did you mean 'search'"):
        deliver(names=["serch"])


def test_a_check_that_finds_a_difference_fails() -> None:
    """Nothing is written by it; one that finds none says so."""
    small_store()
    settings("search")
    deliver()
    assert deliver(check=True, return_state=True).message.startswith("search: Equal: 50 rows, of which all ")
    (file,) = Path("out/search").glob("*/rows-*.parquet")
    file.unlink()
    state = deliver(check=True, full=True, return_state=True)
    assert state.is_failed()
    assert "50 rows missing" in state.message
    assert not file.exists()


def test_without_a_store_there_is_nothing_to_do() -> None:
    """It ends well, with a word, and makes none; a check fails, which has found nothing equal."""
    settings("search")
    state = deliver(return_state=True)
    assert (state.result(), state.name) == ([], "Completed")
    assert "There is no store in " in state.message
    assert not Path("store").exists()
    assert deliver(check=True, return_state=True).is_failed()


def test_one_that_is_behind_is_a_warning() -> None:
    """As one that was left to the next, since there was no more time."""
    state = delivered([Delivered(name="search", to="parquet:/out")], "It was left.")
    assert (state.name, state.is_completed()) == (WITH_WARNINGS, True)  # type: ignore[attr-defined]


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SIGTERM is what Prefect's engine makes of it, and the run is to be cancelled."""

    def end(number: int, _frame: object) -> None:
        raise TerminationSignal(signal=number)

    monkeypatch.setattr("flows._stopping._is_to_be_cancelled", lambda: True)
    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("cancelled")
def test_one_that_is_cancelled_keeps_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends between two blocks, as Cancelled; the next one goes on there."""
    monkeypatch.setattr(base, "BLOCK", BLOCK)
    store_of_blocks(Path("store"))
    settings("search", "later")

    class Stopped(ParquetTarget):
        def write(self, generation: Generation, changes: Changes) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().write(generation, changes)

    with monkeypatch.context() as patch:
        patch.setitem(targets._OPENERS, "parquet", Stopped)
        state = deliver(return_state=True)
    assert state.is_cancelled()
    assert "At most 17 rows are behind" in artifacts_of(state)[key_of("deliver", Path("store").absolute())]
    assert not Path("out/later").exists()
    assert [done.sent for done in deliver(names=["search"])] == [ROWS - BLOCK]
    shutil.rmtree("out")

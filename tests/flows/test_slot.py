"""A run's place among the limits of its deployment, kept while the server comes and goes."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.states import Completed, Running

from flows import _slot
from flows._slot import SLOT_SECONDS, hold_slot
from tests.support.prefect_server import wait_until


class Server:
    """Renews leases, but for the first time that it is asked: then it is away."""

    def __init__(self) -> None:
        self.asked: list[tuple[uuid.UUID, float]] = []

    def renew_concurrency_lease(self, lease: uuid.UUID, lease_duration: float) -> None:
        self.asked.append((lease, lease_duration))
        if len(self.asked) == 1:
            raise httpx.ConnectError("refused")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(_slot, "EVERY", 0.01)
    monkeypatch.setattr(_slot, "get_client", lambda *_, **__: nullcontext(server))
    return server


def running(monkeypatch: pytest.MonkeyPatch, lease: uuid.UUID | None) -> Any:
    state = Running()
    state.state_details.deployment_concurrency_lease_id = lease
    run = SimpleNamespace(state=state)
    monkeypatch.setattr(_slot, "FlowRunContext", SimpleNamespace(get=lambda: SimpleNamespace(flow_run=run)))
    return run


def test_a_slot_is_renewed_until_the_run_is_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than Prefect does, and again after a server that was away; then it is let go."""
    lease = uuid.uuid4()
    run = running(monkeypatch, lease)
    hold_slot()
    wait_until(lambda: len(server.asked) > 2, 10, "renewals after the one that failed")
    run.state = Completed()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "slot"]
    thread.join(10)
    assert not thread.is_alive()
    assert set(server.asked) == {(lease, SLOT_SECONDS)}


def test_a_run_without_a_slot_renews_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, None)
    hold_slot()
    time.sleep(0.05)
    assert not server.asked

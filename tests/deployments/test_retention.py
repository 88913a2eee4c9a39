"""The server of prefect.env keeps runs, logs, artifacts and events for a while, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings.models.server.events import ServerEventsSettings
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings
from prefect.states import Completed

from deployments.ui import shipped_variables
from tests.support import waiting
from tests.support.prefect_server import PrefectServer, wait_until


def test_prefect_understands_how_long_things_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with their logs and artifacts for 90 days, events for a week."""
    for name, value in shipped_variables().items():
        monkeypatch.setenv(name, value)
    vacuum = ServerServicesDBVacuumSettings()
    assert vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert vacuum.retention_period == timedelta(days=90)
    assert ServerEventsSettings().retention_period == timedelta(days=7)


@pytest.mark.system
@pytest.mark.timeout(300)
def test_a_run_that_ended_long_ago_is_deleted(tmp_path: Path) -> None:
    """By the server alone; one that has just ended stays."""
    short = {"RETENTION_PERIOD": "3601", "LOOP_SECONDS": "1"}
    variables = shipped_variables() | {
        f"PREFECT_SERVER_SERVICES_DB_VACUUM_{name}": value for name, value in short.items()
    }
    with (
        PrefectServer(tmp_path / "prefect", **variables) as server,
        server.used(),
        get_client(sync_client=True) as client,
    ):
        now = datetime.now(UTC)
        old, new = (
            client.create_flow_run(waiting.wait, parameters={"seconds": 0}, state=Completed(timestamp=now - age))
            for age in (timedelta(hours=2), timedelta())
        )

        def is_gone() -> bool:
            try:
                client.read_flow_run(old.id)
            except ObjectNotFound:
                return True
            return False

        wait_until(is_gone, 60, "the old run to be deleted")
        assert client.read_flow_run(new.id).id == new.id

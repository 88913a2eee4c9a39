"""The server of prefect.env keeps runs, logs, artifacts and events for a while, and not for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prefect.settings.models.server.events import ServerEventsSettings
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

from deployments.ui import shipped_variables


def test_prefect_understands_how_long_things_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with their logs and artifacts for 90 days, events for a week."""
    for name, value in shipped_variables().items():
        monkeypatch.setenv(name, value)
    vacuum = ServerServicesDBVacuumSettings()
    assert vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert vacuum.retention_period == timedelta(days=90)
    assert ServerEventsSettings().retention_period == timedelta(days=7)

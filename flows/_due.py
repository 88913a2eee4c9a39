"""From when on a run's deadline counts: one that a schedule made, from when it was to begin."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run


def due_from() -> datetime | None:
    """When the schedule that made this run wanted it to begin. None for a run that a person started, or started once
    more: that counts from now."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.id))
    return run.expected_start_time if run.auto_scheduled and run.run_count <= 1 else None

"""What a flow run has left to be looked at in Prefect's UI."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client


def artifacts_of(state: Any) -> dict[str, str]:
    """The artifacts of a flow run, by key."""
    flow_run = UUID(str(state.state_details.flow_run_id))
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts()
    return {a.key or "": str(a.data) for a in artifacts if a.flow_run_id == flow_run}

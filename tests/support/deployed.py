"""What a Prefect server has been given, and what it would not take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from pydantic import BaseModel, ValidationError

DEPLOYED = [
    "deliver", "demo", "digest", "embed-cpu", "embed-gpu", "evaluate", "index", "maintain", "nightly", "vectorize",
]  # fmt: skip
"""All that a start makes."""


def inventory(client: SyncPrefectClient) -> dict[str, list[str]]:
    """All that a start makes, by name."""
    pools = [pool.name for pool in client.read_work_pools()]
    queues = [f"{pool}/{queue.name}" for pool in pools for queue in client.read_work_queues(work_pool_name=pool)]
    deployments = client.read_deployments()
    return {
        "pools": sorted(pools),
        "queues": sorted(queues),
        "deployments": sorted(deployment.name for deployment in deployments),
        "schedules": sorted(str(schedule.slug) for deployment in deployments for schedule in deployment.schedules),
        "automations": sorted(automation.name for automation in client.read_automations()),
        "workers": sorted(worker.name for pool in pools for worker in client.read_workers_for_work_pool(pool)),
    }


def nights(client: SyncPrefectClient) -> list[Any]:
    """The runs of `nightly` that the server has planned."""
    nightly = DeploymentFilter(name=DeploymentFilterName(any_=["nightly"]))
    return client.read_flow_runs(deployment_filter=nightly)


def misfits(place: str, given: dict[str, Any], model: type[BaseModel]) -> Iterator[str]:
    """Keys that are no fields of a model, and fields whose value it refuses."""
    known = {name for field, info in model.model_fields.items() for name in (field, info.alias)}
    yield from (f"{place}: {key}" for key in given if key not in known)
    try:
        model.model_validate(given)
    except ValidationError as error:
        yield from (f"{place}: {'.'.join(map(str, problem['loc']))}" for problem in error.errors())

"""What a Prefect worker makes of a run of `embed`, by the worker's own code."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseJobConfiguration


def configuration_of(kind: str) -> type[BaseJobConfiguration]:
    """Of a worker of this type: makes a job of a template and variables."""
    if kind == "docker":
        from prefect_docker.worker import DockerWorkerJobConfiguration

        return DockerWorkerJobConfiguration
    if kind == "kubernetes":
        from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

        return KubernetesWorkerJobConfiguration
    from prefect.workers.process import ProcessJobConfiguration

    return ProcessJobConfiguration


def start(client: SyncPrefectClient, pool: str, variables: dict[str, Any]) -> FlowRun:
    """A run of the pool's `embed`, as the run of `vectorize` makes it; its parameters lead nowhere."""
    deployment = client.read_deployment_by_name(f"embed/embed-{pool}")
    wanted = (deployment.parameter_openapi_schema or {})["properties"]
    parameters = {name: 1 if field["type"] == "integer" else f"/{name}" for name, field in wanted.items()}
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters, job_variables=variables)


def job_of(client: SyncPrefectClient, run: FlowRun) -> Any:
    """The job configuration of a run, ready to be handed to Docker or Kubernetes."""

    async def resolved() -> Any:
        async with get_client() as asking:
            assert run.deployment_id
            deployment = await asking.read_deployment(run.deployment_id)
            pool = await asking.read_work_pool(deployment.work_pool_name or "")
            return await configuration_of(pool.type).resolve_for_flow_run(
                await asking.read_flow_run(run.id), client=asking, work_pool=pool, worker_name="worker"
            )

    return asyncio.run(resolved())

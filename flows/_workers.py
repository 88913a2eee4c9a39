"""Prefect workers: start an `embed` run for each, watch over them, tell who was lost."""

from __future__ import annotations

import os
import time
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling, Crashed

from pixelmill.errors import SettingsError
from pixelmill.run.handoff import ALIVE_SECONDS, RunFolder, RunOrders
from pixelmill.run.job import Job, Worker
from pixelmill.run.lost import Life, why_worker_lost
from pixelmill.watch.clocks import past

POLL_SECONDS = 2.0
LOST_SECONDS = 12 * ALIVE_SECONDS
"""A worker that has not said for so long that it lives is lost; so is one that has not gone forward for so long when
the deadline has been over for as long."""
STARTING_SECONDS = 180.0
"""How long a process may take from its start to its first sign of life: it imports PyTorch."""


def run_workers(job: Job, orders: RunOrders) -> dict[str, str]:
    """Start the `embed` deployment of each worker that has a share, and wait for all; who was lost, and why.

    Raises SettingsError when a worker's pool has no such deployment.
    """
    workers = [worker for worker in job.workers if worker.name in orders.shares]
    runs = {worker: _start(job, orders.scan, worker).id for worker in workers}
    folder, lost = RunFolder(job.store, orders.scan), dict[str, str]()
    with get_client(sync_client=True) as client:
        while runs:
            time.sleep(POLL_SECONDS)
            for worker, run in list(runs.items()):
                reason = _reason_lost(client, client.read_flow_run(run), worker, folder, job)
                if reason is not None:
                    del runs[worker]
                if reason:
                    lost[worker.name] = reason
    return lost


def cancel_workers(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Cancel the `embed` runs that a run has started: Prefect leaves them alone when it cancels the run."""
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        for child in client.read_flow_runs(flow_run_filter=children):
            if child.state and not child.state.is_final():
                client.set_flow_run_state(child.id, Cancelling(message="The run that started it was cancelled."))


def _start(job: Job, scan: int, worker: Worker) -> FlowRun:
    name = f"embed/embed-{worker.work_pool}"
    gpu = worker.device.partition("cuda:")[2]
    visible = {} if worker.device in ("auto", "gpu", "cuda") else {"env.CUDA_VISIBLE_DEVICES": gpu}
    try:
        run: Any = run_deployment(
            name, timeout=0, parameters={"store": os.fspath(job.store.absolute()), "run": scan, "worker": worker.name},
            work_queue_name=worker.work_queue, job_variables=visible, tags=[worker.name],
            flow_run_name=f"{worker.name}, run {scan}",
        )  # fmt: skip
    except ObjectNotFound as error:
        raise SettingsError(
            f"Expected a deployment {name!r} for worker {worker.name!r}, since its work_pool is {worker.work_pool!r}. "
            "The Prefect server has none: `prefect deploy --prefect-file deployments/prefect.yaml --all` makes those "
            "of the pools cpu and gpu."
        ) from error
    return cast("FlowRun", run)


def _reason_lost(client: SyncPrefectClient, run: FlowRun, worker: Worker, folder: RunFolder, job: Job) -> str | None:
    """Why a worker's run will do no more; '' when it is done; None while it goes on."""
    state = run.state
    if state is None:
        return None
    age = folder.unchanged.seconds(f"state of {worker.name}", state.id)
    if state.is_final():
        return "" if state.is_completed() else f"{state.name}: {(state.message or 'without a word').rstrip('.')}."
    if state.is_running():
        life = life_of(folder, worker.name, age, job.deadline)
        why = why_worker_lost(life, lost_seconds=LOST_SECONDS, starting_seconds=STARTING_SECONDS)
        return _end(client, run.id, Crashed(message=why)) if why else None
    if not (state.is_scheduled() or state.is_pending()):
        return None
    if past(job.deadline):
        return _end(client, run.id, Cancelled(message="The deadline came before it began."))
    nobody = "" if state.is_pending() else _why_nobody_comes(client, worker, folder)
    if age <= job.worker_start_seconds:
        return None
    if state.is_pending():
        words = f"Its Prefect worker took the run, and did not start it in {age:.0f} s."
        return _end(client, run.id, Crashed(message=words))
    if nobody:
        return _end(client, run.id, Cancelled(message=f"Nobody took its run within {age:.0f} s: {nobody}"))
    return None


def life_of(folder: RunFolder, worker: str, since: float, deadline: float | None) -> Life:
    """What the folder shows of a worker that has had its work for `since` seconds."""
    return Life(
        since=since,
        silent=folder.seconds_since_alive(worker),
        still=folder.seconds_since_progress(worker),
        overdue=time.time() - deadline if deadline is not None and past(deadline) else None,
        doing=folder.doing(worker),
    )


def _why_nobody_comes(client: SyncPrefectClient, worker: Worker, folder: RunFolder) -> str:
    """Why no Prefect worker takes a run, and what to do; '' when it waits for its turn, or that is not known yet. When
    the queue was last asked is on the server's clock: only that it changes counts."""
    pool, queue = worker.work_pool, worker.work_queue
    path = {"work_pool_name": pool, "name": queue}
    if client.request("GET", "/work_pools/{name}", path_params={"name": pool}).json()["is_paused"]:
        return f"pool {pool!r} is paused. Let it go on: prefect work-pool resume {pool}."
    found = client.request("GET", "/work_pools/{work_pool_name}/queues/{name}", path_params=path).json()
    if found["is_paused"]:
        return f"queue {queue!r} of {pool!r} is paused. Let it go on: prefect work-queue resume {queue} --pool {pool}."
    last = found["last_polled"]
    if last and folder.unchanged.seconds(f"last poll for {worker.name}", last) < LOST_SECONDS:
        return ""
    return f"no Prefect worker polls queue {queue!r} of pool {pool!r}. Start one: prefect worker start --pool {pool}."


def _end(client: SyncPrefectClient, run: UUID, state: Any) -> str:
    client.set_flow_run_state(run, state, force=True)
    return str(state.message)

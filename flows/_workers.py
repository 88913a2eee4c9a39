"""Prefect workers: start an `embed` run for each, look after them as `run.lost` decides, tell who was lost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Cancelling, Crashed

from pixelmill.errors import HandoverUnreachable, SettingsError
from pixelmill.run.handoff import RunPlace, place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job, Worker
from pixelmill.run.lost import LOST_SECONDS, Queue, Verdict, WorkerRun, judge, life_of
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.travel.patience import PATIENCE, Outage
from pixelmill.watch.clocks import past
from pixelmill.watch.stopping import is_over
from tasks._progress import reach

POLL_SECONDS = 2.0
AT_THE_ENDS_SECONDS = 120.0
"""For how long the hand-over place is asked again before work begins and when it is over."""


def run_workers(orders: RunOrders, intake: Intake) -> Lost:
    """Start the `embed` deployment of each worker that has something to do, take in what they hand over, and wait for
    all; who was lost, and why.

    Raises SettingsError when a worker's pool has no such deployment.
    """
    job = orders.job
    place, name = place_of(job, orders.store_id, orders.scan)
    intake.at = place.at
    place.patient(AT_THE_ENDS_SECONDS).give(orders, intake)
    workers = {worker.name: worker for worker in job.workers if worker.name in orders.workers}
    runs = {worker: _start(job, orders.scan, workers[worker], name).id for worker in workers}
    with get_client(sync_client=True) as client:
        watch = _Watch(client, job, place, workers, runs)
        watch.to_the_end(intake)
    return watch.lost


class _Watch:
    """What a run sees of its workers, until no more is to be expected of any."""

    def __init__(
        self, client: SyncPrefectClient, job: Job, place: RunPlace, workers: Mapping[str, Worker], runs: dict[str, UUID]
    ) -> None:  # fmt: skip
        self.lost = Lost()
        self._client, self._job, self._place, self._workers, self._runs = client, job, place, workers, runs
        self._away = Outage(HandoverUnreachable)
        self._mute = Outage(httpx.TransportError, httpx.HTTPStatusError)
        self._told_to_stop = False

    def to_the_end(self, intake: Intake) -> None:
        """Take in what comes, and look after everybody. What is handed in before a run ends is looked for after it."""
        all_in = False
        while not all_in:
            time.sleep(POLL_SECONDS)
            self._stop_in_time()
            if not self._away.why:
                with self._mute.noted(), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # it is asked again
                    self._look()
            is_last = not self._runs
            with self._away.noted():
                self._place.take_in(intake)
            reach(self._place.embedded.values())
            all_in = is_last and not self._away.why
            if self._is_given_up():
                return
            if is_over():
                break
        self._close(intake)

    def _stop_in_time(self) -> None:
        """Tell the workers that the deadline has come."""
        if not self._told_to_stop and past(self._job.deadline):
            with self._away.noted():
                self._place.stop()
                self._told_to_stop = True

    def _look(self) -> None:
        """Judge each worker by its run."""
        for worker, run in list(self._runs.items()):
            try:
                found = self._client.read_flow_run(run)
                seen = _seen(self._client, found, self._workers[worker], self._place, self._job)
            except HandoverUnreachable:  # that says nothing of the worker
                continue
            except ObjectNotFound:
                seen = WorkerRun("failed", 0.0, words="Its run was deleted.")
            verdict = judge(
                seen, start_seconds=self._job.worker_start_seconds, is_past_deadline=past(self._job.deadline),
                lost_seconds=LOST_SECONDS,
            )  # fmt: skip
            self._carry_out(worker, run, verdict)

    def _carry_out(self, worker: str, run: UUID, verdict: Verdict) -> None:
        if verdict.end_as:
            end = Crashed if verdict.end_as == "crashed" else Cancelled
            self._client.set_flow_run_state(run, end(message=verdict.why), force=True)
        if verdict.is_over:
            del self._runs[worker]
            self._place.at.pop(worker, None)
        if verdict.why:
            self.lost[worker] = verdict.why

    def _is_given_up(self) -> bool:
        """Whether the place, or Prefect's API, has been away for so long that nobody can be looked after any more."""
        overdue = self._job.deadline is not None and past(self._job.deadline + LOST_SECONDS)
        for outage in (self._away, self._mute):
            if outage.seconds > (LOST_SECONDS if overdue else PATIENCE):
                why = f"Nothing was to be seen of it for {outage.seconds:.0f} s. {outage.why}"
                self.lost |= dict.fromkeys(self._runs, why)
                return True
        return False

    def _close(self, intake: Intake) -> None:
        try:
            self._place.patient(AT_THE_ENDS_SECONDS).close(intake)
        except HandoverUnreachable as error:
            get_run_logger().warning(f"{error} The next run clears it.")


def cancel_workers(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Cancel the `embed` runs that a run has started: Prefect leaves them alone when it cancels the run."""
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        for child in client.read_flow_runs(flow_run_filter=children):
            if child.state and not child.state.is_final():
                client.set_flow_run_state(child.id, Cancelling(message="The run that started it was cancelled."))


def _start(job: Job, scan: int, worker: Worker, place: str) -> FlowRun:
    name = f"embed/embed-{worker.work_pool}"
    try:
        run: Any = run_deployment(
            name, timeout=0, parameters={"handover": place, "worker": worker.name},
            work_queue_name=worker.work_queue, job_variables=variables_for(worker.device), tags=[worker.name],
            flow_run_name=f"{worker.name}, run {scan}",
        )  # fmt: skip
    except ObjectNotFound as error:
        raise SettingsError(
            f"Expected a deployment {name!r} for worker {worker.name!r}, since its work_pool is {worker.work_pool!r}. "
            "The Prefect server has none: `python deployments/set_up.py` makes one for each pool of [[workers]]."
        ) from error
    return cast("FlowRun", run)


def variables_for(device: str) -> dict[str, dict[str, str]]:
    """What the job of a run with this device gets beside what its pool and its deployment say."""
    if device in ("auto", "gpu", "cuda"):
        return {}
    return {"env": {"CUDA_VISIBLE_DEVICES": device.partition("cuda:")[2]}}


def _seen(client: SyncPrefectClient, run: FlowRun, worker: Worker, place: RunPlace, job: Job) -> WorkerRun:
    """What is to be seen of a worker's run: in the API, and once it runs at the place where it hands over."""
    state = run.state
    if state is None:
        return WorkerRun("other", 0.0)
    age = place.unchanged.seconds(f"state of {worker.name}", state.id)
    if state.is_scheduled():
        return WorkerRun("waiting", age, queue=_queue(client, worker, place))
    if state.is_pending() or state.is_final():
        return WorkerRun(
            _name_of(state), age, words=f"{state.name}: {(state.message or 'without a word').rstrip('.')}."
        )
    # Running; or paused, or about to be cancelled by a Prefect worker that may be gone: it counts whether it lives.
    return WorkerRun("running", age, life=life_of(place, worker.name, age, job.deadline))


def _name_of(state: State[Any]) -> Literal["taken", "done", "failed"]:
    if state.is_pending():
        return "taken"
    return "done" if state.is_completed() else "failed"


def _queue(client: SyncPrefectClient, worker: Worker, place: RunPlace) -> Queue:
    """The queue of a worker. When it was last asked is on the server's clock: only that it changes counts."""
    pool, queue = worker.work_pool, worker.work_queue
    path = {"work_pool_name": pool, "name": queue}
    pools = client.request("GET", "/work_pools/{name}", path_params={"name": pool}).json()
    found = client.request("GET", "/work_pools/{work_pool_name}/queues/{name}", path_params=path).json()
    last = found["last_polled"]
    unpolled = place.unchanged.seconds(f"last poll for {worker.name}", last) if last else None
    return Queue(pool, queue, pools["is_paused"], found["is_paused"], unpolled)

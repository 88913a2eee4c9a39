"""Who does the work of a run: this process, Prefect workers, or the processes of a cluster."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows._workers import LOST_SECONDS, POLL_SECONDS, life_of, run_workers
from flows.embed import embed
from pixelmill.errors import WorkersLost
from pixelmill.plan import Plan
from pixelmill.report.history import speeds
from pixelmill.run.handoff import RunFolder, RunOrders, whole
from pixelmill.run.job import Job
from pixelmill.run.lost import Life, is_device_missing, needs_somebody, who_is_left_out, why_cluster_lost
from pixelmill.run.prepare import plan_for
from pixelmill.run.results import ShardReport
from pixelmill.run.schedule import schedule_for
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.watch.clocks import Unchanged, past
from tasks.embed import embed_ordered

log = logging.getLogger("pixelmill.flows")

ROUNDS = 3
"""How often what lost workers left is shared out again."""


@dataclass(slots=True)
class Outcome:
    """What the workers did, and were to do; who was lost, and why; what became of the work that lost ones left; whether
    the run fails for it."""

    done: list[ShardReport] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    plan: str = ""
    left: str = "Others did what it left."
    unfinished: bool = False

    @property
    def warnings(self) -> list[str]:
        return [f"Worker {name} was lost: {reason} {self.left}" for name, reason in self.lost.items()]

    def check(self) -> None:
        """Raise WorkersLost if work is left that nobody does."""
        if self.unfinished:
            raise WorkersLost(" ".join([*self.warnings, "What was embedded is stored; the next run does the rest."]))


def share_out(job: Job, scan: int, matrices: Sequence[Matrix], plan: Plan) -> Outcome:
    """Have the shards of a plan embedded. What a lost worker left is done by the others."""
    outcome, folder = Outcome(), RunFolder(job.store, scan)
    for _ in range(ROUNDS):
        if not plan.images:
            break
        orders = orders_for(job, scan, matrices, plan)
        folder.give(orders)
        outcome.plan = outcome.plan or orders.plan
        outcome.unfinished = False
        lost = _run(job, orders)
        did = [report for report in folder.reports() if report not in outcome.done]
        outcome.done += did
        if job.fan_out != "inline":  # where nobody else could do it
            lost |= {name: why for name, why in who_is_left_out(did).items() if name not in outcome.lost}
        outcome.lost |= lost
        for name, reason in lost.items():
            log.warning("worker %s was lost: %s", name, reason)
        if not lost:
            break
        if past(job.deadline):
            outcome.left, outcome.unfinished = "The deadline came; the next run does the rest.", needs_somebody(lost)
            break
        with StoreWriter(job.store) as writer:
            plan = plan_for(job, writer, matrices, scan)
        outcome.unfinished = bool(plan.images)
        job = job.model_copy(update={"workers": tuple(w for w in job.workers if w.name not in outcome.lost)})
        if is_device_missing(lost) or (job.fan_out == "workers" and not job.workers):
            break
    if outcome.unfinished and not past(job.deadline):
        outcome.left = "What it left was not done."
    folder.clear()
    return outcome


def orders_for(job: Job, scan: int, matrices: Sequence[Matrix], plan: Plan) -> RunOrders:
    """Who does what; with workers, as their speed in earlier runs lets expect that it is done soonest."""
    if job.fan_out != "workers":
        return whole(job, scan, matrices, plan.shards, job.fan_out)
    specs = {spec.name: spec for spec in job.specs}
    with StoreWriter(job.store) as writer:
        lacking = {matrix.provenance.fingerprint: specs[matrix.provenance.model] for matrix in matrices}
        scheduled = schedule_for(job, speeds(writer.ledger), lacking, plan)
    shares = {share.worker: share.shards for share in scheduled.shares}
    words = str(scheduled)
    get_run_logger().info(words)
    return RunOrders(job=job, scan=scan, matrices=tuple(matrices), shards=plan.shards, shares=shares, plan=words)


def _run(job: Job, orders: RunOrders) -> dict[str, str]:
    """Do as ordered; who was lost on the way, and why."""
    store = os.fspath(job.store)
    if job.fan_out == "inline":
        embed(store, orders.scan, job.fan_out)
        return {}
    if job.fan_out == "workers":
        return run_workers(job, orders)
    lost: dict[str, str] = embed_on_cluster.with_options(task_runner=_runner(job))(store, orders.scan)
    return lost


@flow(name="embed-on-cluster", flow_run_name="run {run}")
def embed_on_cluster(store: str, run: int) -> dict[str, str]:
    """Embed the shards of a run as tasks of a Dask or Ray cluster.

    Args:
        store: The store's folder, as every machine of the cluster sees it.
        run: The number of the run, which left its orders in the store.
    """
    folder = RunFolder(Path(store), run)
    orders = folder.orders()
    with _resources(orders.job):
        futures = {shard: embed_ordered.submit(store, run, shard.number) for shard in orders.shards}
    lost = {}
    unchanged = Unchanged(most=5 * POLL_SECONDS)
    while futures:
        for shard in [shard for shard, future in futures.items() if _is_done(orders.job, future)]:
            try:
                did = futures.pop(shard).result()
                folder.report(replace(did, seconds=did.seconds / orders.job.parallel))  # they pass beside each other
            except Exception as error:
                lost[f"{orders.job.fan_out}, shard {shard.number}"] = f"{type(error).__name__}: {error}"
        life = _life(folder, orders.job, len(futures), unchanged)
        if why := why_cluster_lost(life, lost_seconds=LOST_SECONDS, start_seconds=orders.job.worker_start_seconds):
            lost[f"{orders.job.fan_out}, with {len(futures)} of {len(orders.shards)} shards"] = why
            for future in futures.values():
                _drop(orders.job, future)
            break
        time.sleep(POLL_SECONDS)
    return lost


def _life(folder: RunFolder, job: Job, left: int, unchanged: Unchanged) -> Life:
    """What is seen of the processes of a cluster, all together."""
    lives = {name: life_of(folder, name, 0.0, job.deadline) for name in folder.workers()}
    latest = min(lives.values(), key=lambda life: life.still, default=None)
    shards_still = unchanged.seconds("shards left", left)
    return Life(
        since=unchanged.seconds("orders", folder.path),
        silent=min((life.silent for life in lives.values() if life.silent is not None), default=None),
        still=min(latest.still, shards_still) if latest else shards_still,
        overdue=time.time() - job.deadline if job.deadline is not None and past(job.deadline) else None,
        doing="; ".join(f"{name}: {life.doing}" for name, life in lives.items()),
    )


def _is_done(job: Job, future: Any) -> bool:
    if job.fan_out == "dask":
        return bool(future.wrapped_future.done())
    import ray

    done, _ = ray.wait([future.wrapped_future], timeout=0)
    return bool(done)


def _drop(job: Job, future: Any) -> None:
    """Take a shard away from a cluster, which may never have begun it."""
    with suppress(Exception):
        if job.fan_out == "dask":
            future.wrapped_future.cancel(force=True)
            return
        import ray

        ray.cancel(future.wrapped_future, force=True)


def _runner(job: Job) -> Any:
    if job.fan_out == "dask":
        from prefect_dask.task_runners import DaskTaskRunner

        resources = {"GPU": 1} if _takes_gpu(job) else {}
        local = {"n_workers": job.cluster_size, "threads_per_worker": 1, "resources": resources}
        return DaskTaskRunner(address=job.cluster) if job.cluster else DaskTaskRunner(cluster_kwargs=local)
    from prefect_ray.task_runners import RayTaskRunner

    local = {"num_cpus": job.cluster_size, "include_dashboard": False}
    return RayTaskRunner(address=job.cluster) if job.cluster else RayTaskRunner(init_kwargs=local)


def _resources(job: Job) -> Any:
    """One task at a time holds a GPU, or a worker's one place on CPUs."""
    if job.fan_out == "dask":
        from dask.base import annotate

        return annotate(resources={"GPU": 1}) if _takes_gpu(job) else nullcontext()
    from prefect_ray.context import remote_options

    return remote_options(num_gpus=1 if _takes_gpu(job) else 0, num_cpus=1, max_retries=3)


def _takes_gpu(job: Job) -> bool:
    return job.device not in ("auto", "cpu")

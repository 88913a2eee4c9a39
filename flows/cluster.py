"""Who embeds on a Dask or Ray cluster: each shard is a task of it, watched until all are done or given up."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow

from pixelmill.plan import Shard
from pixelmill.run.handoff import RunFolder, RunOrders
from pixelmill.run.job import Job
from pixelmill.run.lost import LOST_SECONDS, life_of_all, why_cluster_lost
from pixelmill.run.rounds import Lost
from tasks.embed import embed_ordered

POLL_SECONDS = 2.0


def run_on_cluster(orders: RunOrders) -> Lost:
    """Have a cluster carry out the orders of a run; which shards were lost, and why."""
    on_cluster = embed_on_cluster.with_options(task_runner=_runner(orders.job))
    lost: Lost = on_cluster(os.fspath(orders.job.store), orders.scan)
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
    lost: Lost = {}
    while futures:
        lost |= _collected(folder, orders, futures)
        life = life_of_all(folder, len(futures), orders.job.deadline)
        why = why_cluster_lost(life, lost_seconds=LOST_SECONDS, start_seconds=orders.job.worker_start_seconds)
        if futures and why:
            lost[f"{orders.job.fan_out}, with {len(futures)} of {len(orders.shards)} shards"] = why
            for future in futures.values():
                _drop(orders.job, future)
            break
        time.sleep(POLL_SECONDS)
    return lost


def _collected(folder: RunFolder, orders: RunOrders, futures: dict[Shard, Any]) -> Lost:
    """Take the futures away that are done, and report what became of their shards; which failed, and why."""
    lost: Lost = {}
    for shard in [shard for shard, future in futures.items() if _is_done(orders.job, future)]:
        try:
            did = futures.pop(shard).result()
            folder.report(replace(did, seconds=did.seconds / orders.job.parallel))  # they pass beside each other
        except Exception as error:
            lost[f"{orders.job.fan_out}, shard {shard.number}"] = f"{type(error).__name__}: {error}"
    return lost


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

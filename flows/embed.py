"""One worker: one process, one device, its models loaded once, shards taken one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prefect import flow

from pixelmill.run.handoff import RunFolder
from pixelmill.run.loaded import release_models
from pixelmill.store.living import holding
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import model_hangs
from tasks._progress import shown
from tasks.embed import embed_shard


@flow(name="embed", flow_run_name="{worker}, run {run}")
def embed(store: str, run: int, worker: str) -> None:
    """Embed what a run assigned to one worker. `vectorize` starts this; by hand there is nothing to start.

    It ends when the device does not answer.

    Args:
        store: The store's folder, as this machine sees it.
        run: The number of the run, which left its orders in the store.
        worker: The name of the worker in the settings of the run.
    """
    folder = RunFolder(Path(store), run)
    orders = folder.orders()
    job, warning = orders.job_of(worker)
    with holding(Path(store), run), folder.alive(worker), shown(orders.images(worker)):
        for shard, matrices in orders.of(worker):
            if past(job.deadline):
                break
            did = embed_shard(job, matrices, run, shard, worker)
            folder.report(replace(did, warnings=(*did.warnings, warning) if warning else did.warnings))
            if model_hangs():
                break
    release_models()

"""One worker: one process, one device, its models loaded once, shards taken one by one."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from pixelmill.run.share import do_share
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
    do_share(Path(store), run, worker, embed=embed_shard, show=shown)

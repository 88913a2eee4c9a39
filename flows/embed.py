"""One worker: one process, one device, its models loaded once, shards taken one by one."""

from __future__ import annotations

from prefect import flow

from pixelmill.run.share import do_share
from tasks._progress import shown
from tasks.embed import embed_for_others


@flow(name="embed", flow_run_name="{worker}")
def embed(handover: str, worker: str) -> None:
    """Embed what a run assigned to one worker. `vectorize` starts this; by hand there is nothing to start.

    It needs the images, the weights and the hand-over place; no store. It ends when the device does not answer.

    Args:
        handover: The folder or address where the run's orders lie, and where its rows are handed over.
        worker: The name of the worker in the settings of the run.
    """
    do_share(handover, worker, embed=embed_for_others, show=shown)

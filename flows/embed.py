"""One worker: one process, one device, its models loaded once, shards taken one by one."""

from __future__ import annotations

from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows._begin import begin
from flows._ends import ended
from flows._stopping import cancelled_in_order
from pixelmill.report.text import share_in_short
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.results import ShardReport
from pixelmill.run.share import do_share
from pixelmill.run.worker import AtWork
from pixelmill.travel.shard_order import ShardOrder
from pixelmill.version import VERSION
from tasks.embed import embed_for_others


@flow(name="embed", version=VERSION)
@cancelled_in_order
def embed(handover: str, worker: str) -> None:
    """Embed what a run assigned to one worker. `vectorize` starts this; by hand there is nothing to start.

    It needs the images, the weights and the hand-over place; no store. It ends when the device does not answer.

    Args:
        handover: The folder or address where the run's orders lie, and where its rows are handed over.
        worker: The name of the worker in the settings of the run.
    """
    begin()
    did: list[ShardReport] = []

    def embed_one(work: AtWork, order: ShardOrder) -> ShardAnswer:
        answer = embed_for_others(work, order)
        did.append(answer.report)
        return answer

    do_share(handover, worker, embed=embed_one, waited=_waited())
    return ended(None, share_in_short(did))


def _waited() -> float:
    """For how many seconds this run has waited in its queue, both ends by the clock of Prefect's server."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.id))
    return max((run.start_time - run.created).total_seconds(), 0.0) if run.start_time and run.created else 0.0

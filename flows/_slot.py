"""A night's place among the limits of its deployment outlives a server that is away."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

log = logging.getLogger("pixelmill.flows")

SLOT_SECONDS = 900.0
EVERY = 60.0


def hold_slot() -> None:
    """Renew this run's slot, if it has one, often and for long. Prefect does it every 225 s for 300 s, and ends the run
    that has lost it: a server that is away for two minutes in between would."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run and run.state and (lease := run.state.state_details.deployment_concurrency_lease_id):
        renewing = contextvars.copy_context()
        threading.Thread(target=renewing.run, args=(_renew, run, lease), name="slot", daemon=True).start()


def _renew(run: FlowRun, lease: UUID) -> None:
    while run.state and not run.state.is_final():
        try:
            with get_client({"timeout": EVERY}, sync_client=True) as client:  # the run's own is for its own thread
                client.renew_concurrency_lease(lease, lease_duration=SLOT_SECONDS)
        except Exception as error:  # Prefect's own renewal tells what becomes of the run
            log.info("the slot of this run could not be renewed: %s", error)
        time.sleep(EVERY)

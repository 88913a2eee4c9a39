"""A flow run that a signal ends: cancelled, if that is what somebody asked Prefect for."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import CancelledRun, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled

P = ParamSpec("P")
T = TypeVar("T")
_CANCELLED = "It was cancelled. What was done by then is kept; the next run does the rest."


def cancelled_in_order(body: Callable[P, T]) -> Callable[P, T]:
    """`body`, which gives the state Cancelled where a signal has ended it because the run is to be cancelled.

    While work is brought to its end SIGTERM is Pixelmill's, so that Prefect's engine does not learn what it is for, and
    would take the run for crashed.
    """

    @wraps(body)
    def in_order(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return body(*args, **kwargs)
        except TerminationSignal:
            if _is_to_be_cancelled():
                logging.getLogger("prefect.flow_runs").addFilter(_is_no_cancellation)
                return cast("T", Cancelled(message=_CANCELLED))
            raise

    # Prefect reads annotations where this function is, not where `body` is.
    in_order.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    in_order.__annotations__ = inspect.get_annotations(body, eval_str=True)
    return in_order


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Prefect's engine takes a run that gives the state Cancelled for an accident, and logs where in itself it was."""
    return not (record.exc_info and record.exc_info[0] is CancelledRun)


def _is_to_be_cancelled() -> bool:
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(flow_run.id)).state
    except Exception:  # a server that is away
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())

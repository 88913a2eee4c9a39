"""What every flow does first: its run outlives its worker and its server's absence, and its log has what the library
says."""

from __future__ import annotations

import contextvars
import logging

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from flows._slot import hold_slot
from flows._streams import outlive_worker

LIBRARY = "pixelmill"


def begin() -> None:
    """Called in the body of a flow, before anything else."""
    outlive_worker()
    log_to_run()
    hold_slot()


def log_to_run() -> None:
    """Let the log of this flow run, as the browser shows it, have what the library says from INFO on, in whatever
    thread; until the run is over, or another begins in this process."""
    context, logger = FlowRunContext.get(), logging.getLogger(LIBRARY)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _RunLog)]:
        logger.removeHandler(handler)
    if context and not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        logger.addHandler(_RunLog(context))
        if logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)


class _RunLog(APILogHandler):
    """Sends to the log of one run. Threads do not know by themselves of which run they are, nor which server it has."""

    def __init__(self, run: FlowRunContext) -> None:
        super().__init__(logging.INFO)
        self._run, self._context = run, contextvars.copy_context()

    def emit(self, record: logging.LogRecord) -> None:
        if TaskRunContext.get() or FlowRunContext.get():
            super().emit(record)
        elif not (self._run.flow_run and self._run.flow_run.state and self._run.flow_run.state.is_final()):
            self._context.copy().run(super().emit, record)

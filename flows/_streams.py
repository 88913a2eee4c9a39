"""What a flow run prints goes through a pipe to its worker. When the worker is killed, the run goes on without it."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from prefect.logging.handlers import PrefectConsoleHandler

_STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"


def outlive_worker() -> None:
    """Let nothing that this process prints end it, though nobody may read it any more: Rich, and so Prefect's console,
    would leave with SystemExit, others raise BrokenPipeError. A command whose reader is gone still ends."""
    if _STARTED_BY_WORKER in os.environ:
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = map(_lasting, before)
        for handler in _printing():
            if handler.stream in before:
                _let_print(handler, (sys.stdout, sys.stderr)[before.index(handler.stream)])


class _Lasting(io.FileIO):
    """A file descriptor that leads nowhere once its reader is gone, for this process and those that it starts then."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _lasting(stream: TextIO) -> TextIO:
    stream.flush()
    raw = io.BufferedWriter(_Lasting(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True)


def _printing() -> Iterator[logging.StreamHandler[TextIO]]:
    """The handlers of all loggers that print."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler):
                yield handler


def _let_print(handler: logging.StreamHandler[TextIO], stream: TextIO) -> None:
    handler.setStream(stream)
    if isinstance(handler, PrefectConsoleHandler):
        handler.console.file = stream

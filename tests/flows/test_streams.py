"""A flow run whose worker is gone, and with it the other end of what it prints to."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.logging.handlers import PrefectConsoleHandler

from flows._streams import outlive_worker


@contextmanager
def read_by_another() -> Iterator[tuple[int, logging.Logger]]:
    """The end of a pipe at which another process reads what this one prints, and a logger that prints as Prefect's do."""
    reading, writing = os.pipe()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.FileIO(os.dup(writing), "wb"), line_buffering=True)
            patch.setattr(sys, name, stream)
            patch.setattr(sys, f"__{name}__", stream)
        os.close(writing)
        logger, handler = logging.getLogger("tests.streams"), PrefectConsoleHandler(sys.stderr)
        logger.addHandler(handler)
        try:
            yield reading, logger
        finally:
            logger.removeHandler(handler)


def test_what_nobody_reads_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prints, and however: the worker reads it as long as there is one, and nothing is raised after that."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "one")
    with read_by_another() as (reader, logger):
        outlive_worker()
        logger.warning("before")
        assert os.read(reader, 1000) == b"before\n"
        os.close(reader)
        for _ in range(2):
            logger.warning("after")
            print("after")
            print("after", file=sys.stderr, flush=True)
        os.write(sys.stderr.fileno(), b"as a library of C does")


def test_a_command_ends_with_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no worker has started is left as it is: `pixelmill run | head` ends."""
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    with read_by_another() as (reader, logger):
        outlive_worker()
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            print("after")
        with pytest.raises(SystemExit):
            logger.warning("after")

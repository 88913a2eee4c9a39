"""What every flow begins with: the log of its run has what the library says."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow, task
from prefect.logging.handlers import APILogHandler, set_api_log_sink
from prefect.runtime import flow_run
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows._begin import begin

pytestmark = pytest.mark.usefixtures("prefect_api")
LIBRARY = logging.getLogger("pixelmill")


@pytest.fixture
def sent() -> Iterator[list[dict[str, Any]]]:
    """What is sent to the server's log."""
    lines: list[dict[str, Any]] = []
    level = LIBRARY.level
    set_api_log_sink(lines.append)
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
        yield lines
    set_api_log_sink(None)
    LIBRARY.handlers = [handler for handler in LIBRARY.handlers if not isinstance(handler, APILogHandler)]
    LIBRARY.setLevel(level)


@task
def step() -> None:
    logging.getLogger("pixelmill.store").warning("in a task")


@flow
def speaking() -> str:
    """As the library does: from its own threads too."""
    begin()
    logging.getLogger("pixelmill.run").info("in the flow")
    logging.getLogger("pixelmill.run").debug("for nobody")
    thread = threading.Thread(target=logging.getLogger("pixelmill.watch").info, args=("in a thread",))
    thread.start()
    thread.join()
    step()
    return str(flow_run.id)


def test_what_the_library_says_is_in_the_log_of_the_run(sent: list[dict[str, Any]]) -> None:
    """From whatever thread, and once; each run has its own, and what is said when it is over is nobody's."""
    runs = [speaking(), speaking()]
    logging.getLogger("pixelmill.run").warning("afterwards")
    threading.Thread(target=LIBRARY.warning, args=("afterwards",)).start()
    told = [(line["flow_run_id"], line["message"]) for line in sent if line["name"].startswith("pixelmill")]
    assert told == [(run, words) for run in runs for words in ("in the flow", "in a thread", "in a task")]
    (in_task,) = {line["message"] for line in sent if line["task_run_id"] and line["name"].startswith("pixelmill")}
    assert in_task == "in a task"

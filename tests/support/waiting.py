"""A flow that waits, and its deployment: for tests of what becomes of a run when something around it dies."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.deployments import run_deployment

from flows._begin import begin
from tests.support.prefect_server import ROOT


@flow(name="wait")
def wait(seconds: float) -> None:
    """Do nothing for a while, but what each flow of Pixelmill does first."""
    begin()
    time.sleep(seconds)


def deploy(name: str, pool: str, **options: Any) -> None:
    """Deploy `wait` on the server in use, as `wait/<name>`; `options` are those of `Flow.deploy`."""
    source: Any = wait.from_source(source=str(ROOT), entrypoint="tests/support/waiting.py:wait")
    source.deploy(name=name, work_pool_name=pool, build=False, print_next_steps=False, ignore_warnings=True, **options)


def start(name: str, seconds: float, **options: Any) -> UUID:
    """Order a run of `wait/<name>`; its id."""
    run: Any = run_deployment(f"wait/{name}", parameters={"seconds": seconds}, timeout=0, **options)
    return UUID(str(run.id))

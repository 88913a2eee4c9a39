"""The retries of the library's steps, as Prefect has them."""

from __future__ import annotations

from typing import Any

from pixelmill.run import retries
from pixelmill.run.retries import Retries
from pixelmill.watch.stopping import asked


def tried_again(policy: Retries) -> dict[str, Any]:
    """The options of a task that is tried again like the step of the library that it wraps."""
    return {
        "retries": len(policy.pauses), "retry_delay_seconds": list(policy.pauses),
        "retry_jitter_factor": policy.scatter or None, "retry_condition_fn": may_pass,
    }  # fmt: skip


def may_pass(_task: object, _run: object, state: Any) -> bool:
    """Whether a failed task is worth another try."""
    try:
        state.result()
    except Exception as error:
        return not asked() and retries.may_pass(error)
    return False

"""Where the time of a run went: its seconds by step, those of embedding by what was waited for. They add up to all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pixelmill.report.model import RunReport

_NAMES: Final = {
    "turn": "waiting for another run",
    "discover": "looking at the sources",
    "weights": "fetching weights",
    "plan": "planning, loading models",
    "publish": "publishing",
    "heads": "filling heads",
    "deliver": "delivering",
    "report": "reporting",
}
_LEAST = 0.005
"""What took less than this share of a run counts among the rest."""
REST: Final = "the rest"


def budget(report: RunReport) -> dict[str, float]:
    """Seconds by what they went to, in the order of the run; their sum is all that it took. Empty where the report does
    not know: one of an older version."""
    if not report.steps or report.seconds <= 0:
        return {}
    told = {what: seconds for what, seconds in _all(report) if seconds >= _LEAST * report.seconds}
    return {**told, REST: max(report.seconds - sum(told.values()), 0.0)}


def _all(report: RunReport) -> Iterator[tuple[str, float]]:
    for step, seconds in report.steps.items():
        if step == "embed":
            yield from _embedding(report, seconds)
        elif step != "rest":
            yield _NAMES.get(step, step), seconds


def _embedding(report: RunReport, seconds: float) -> Iterator[tuple[str, float]]:
    """The time of embedding by what all workers, beside each other, spent theirs on."""
    workers = report.workers.values()
    beside = max(len(workers), 1)
    spent = {
        "waiting for files to be read": sum(did.waited_reading for did in workers) / beside,
        "waiting for pictures to be decoded": sum(did.waited_decoding for did in workers) / beside,
        **{
            f"{model} at work": sum(did.models[model].seconds for did in workers if model in did.models) / beside
            for model in dict.fromkeys(model for did in workers for model in did.models)
        },
    }  # fmt: skip
    known = sum(spent.values())
    share = min(1.0, seconds / known) if known else 1.0  # processes of a cluster beside each other count as one worker
    yield from ((what, took * share) for what, took in spent.items())
    yield "loading and measuring models, storing", max(seconds - known * share, 0.0)

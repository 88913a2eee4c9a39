"""How a run ends in Prefect: the name of its state, and its summary as the message that the Runs page shows."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

from prefect.runtime import deployment
from prefect.states import Completed, Failed

from pixelmill.deliver.told import Checked, Delivered
from pixelmill.errors import DeliveryFailed, PixelmillError, SourceError, TooManyRefused
from pixelmill.formatting import printable
from pixelmill.report.attention import End, end_of
from pixelmill.report.deliveries import failure as undelivered
from pixelmill.report.model import DryRunReport, RunReport
from pixelmill.report.text import headline, in_short
from pixelmill.run.job import Job
from pixelmill.watch.clocks import past

T = TypeVar("T")
WITH_WARNINGS: Final = "CompletedWithWarnings"
"""The state of a run that came to its end and that somebody should look at. Prefect tells of it by the event
`prefect.flow-run.CompletedWithWarnings`."""
_ERRORS: Final[dict[str, type[PixelmillError]]] = {"failed": SourceError, "refused": TooManyRefused}


def ended(result: T, message: str, *, name: str | None = None) -> T:
    """Completed, with a message. Prefect takes a state that a flow returns for the run's own, and gives its caller
    what is in it."""
    state: Any = Completed(name=name, message=message, data=result)
    return cast("T", state)


def reported(report: RunReport, job: Job) -> RunReport:
    """The end of a run that has left a report. One that a deployment started fails where `end_of` says so, that
    somebody is told; the command, which asks Prefect for a run of its own, has exit codes for it."""
    end = end_of(report, missing_source=job.missing_source, most=job.max_failure_rate)
    message = in_words(report, end, is_cut_short=past(job.deadline))
    if end.kind == "done":
        return ended(report, message)
    if end.kind == "warnings" or not deployment.id:
        return ended(report, message, name=WITH_WARNINGS)
    error = DeliveryFailed if end.words == undelivered(report.deliveries) else _ERRORS[end.kind]
    state: Any = Failed(message=message, data=error(end.words))
    return cast("RunReport", state)


def previewed(report: DryRunReport) -> DryRunReport:
    """The end of a dry run."""
    return ended(report, printable(" ".join(filter(None, [headline(report), report.failure]))))


def delivered(done: list[Delivered | Checked], message: str) -> list[Delivered | Checked]:
    """The end of deliveries, or of checks: failed if one failed or differs, with warnings if one is behind."""
    if any(one.problem or (isinstance(one, Checked) and one.differences) for one in done):
        state: Any = Failed(message=printable(message), data=DeliveryFailed(message))
        return cast("list[Delivered | Checked]", state)
    is_behind = any(isinstance(one, Delivered) and not one.is_equal for one in done)
    return ended(done, printable(message), name=WITH_WARNINGS if is_behind else None)


def in_words(report: RunReport, end: End, *, is_cut_short: bool = False) -> str:
    """As `146 new, 140 embedded, 6 quarantined. 191 of 500 images of /photos could not be read: the source is gone.`"""
    is_left = is_cut_short and any(model.pending for model in report.models.values())
    late = "The deadline came; the next run does the rest." if is_left else ""
    return printable(" ".join(filter(None, [in_short(report), late, end.words])))

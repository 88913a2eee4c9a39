"""Whether somebody has to look at a run that came to its end, and why: decided here for the flow and the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pixelmill.choices import MissingSource
from pixelmill.report.columns import problems
from pixelmill.report.deliveries import problems as undelivered
from pixelmill.report.heads import problems as unfilled
from pixelmill.report.history import drifted, shrunk
from pixelmill.report.model import RunReport
from pixelmill.report.text import too_many_refused

_MOST = 3
"""Lines that a state's message says; the report says all."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended, and why not simply "done": with "warnings"; "refused", that is with more images refused or
    unread than may be; or "failed"."""

    kind: Literal["done", "warnings", "refused", "failed"]
    words: str = ""


def attention(report: RunReport, earlier: Sequence[RunReport], told: Sequence[str] = ()) -> tuple[str, ...]:
    """What a morning must not overlook of a run, a line for each cause: sources that could not be read, or hold far
    fewer images than in the run before (`earlier`, newest first), models that do not make what is stored, tables that
    could not be joined, heads that could not be filled, deliveries that failed or are behind, and what the run has
    `told` of itself: workers that were lost, a store that was mended."""
    return tuple(dict.fromkeys([
        *map(str, report.unreadable), *told, *problems(report.columns), *unfilled(report.heads),
        *undelivered(report.deliveries), *drifted(report), *shrunk(report, earlier),
    ]))  # fmt: skip


def end_of(report: RunReport, *, missing_source: MissingSource, most: float) -> End:
    """How a run ends that has left this report; `most` is the greatest share of images that may fail.

    Images of a source that could not be read are for `missing_source` to judge, not for `most`.
    """
    words = in_one(report.attention)
    if report.failure:
        return End("failed", report.failure)
    if report.unreadable and missing_source == "fail":
        return End("failed", words)
    if report.exceeded_failure_rate and not report.unreadable:
        return End("refused", " ".join(filter(None, [too_many_refused(report, most), words])))
    return End("warnings", words) if words else End("done")


def in_one(lines: Sequence[str]) -> str:
    """The first of some sentences, and how many there are beyond."""
    beyond = len(lines) - _MOST
    return " ".join([*lines[:_MOST], *([f"The report has {beyond:,} more."] if beyond > 0 else [])])

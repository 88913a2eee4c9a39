"""When a run gives somebody's work to others: decisions about what it sees of those who embed for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pixelmill.errors import DeviceUnavailable
from pixelmill.run.results import ShardReport, combined
from pixelmill.watch.calls import COMPUTING_SECONDS

_STUCK: Final = "its work has not gone forward"
_NOBODY: Final = "no process of the cluster"


@dataclass(frozen=True, slots=True)
class Life:
    """What a run sees of somebody at work, in seconds on its own clock: since when the work is theirs, since when there
    was no sign of life (None: there never was one), since when nothing went forward, and how long ago the deadline was
    (None: it is not over). `doing` is what they said last that they do."""

    since: float
    silent: float | None
    still: float
    overdue: float | None
    doing: str = ""


def why_worker_lost(life: Life, *, lost_seconds: float, starting_seconds: float) -> str:
    """Why a worker is given up that has begun; '' while it is not. A sign of life alone does not make up for work that
    does not go forward: a thread may say that it lives while another hangs."""
    overdue = life.overdue is not None and life.overdue > lost_seconds
    silent = life.since - (0.0 if overdue else starting_seconds) if life.silent is None else life.silent
    if silent > lost_seconds:
        return f"No sign of life for {lost_seconds:.0f} s."
    return _why_stuck(life, lost_seconds)


def why_cluster_lost(life: Life, *, lost_seconds: float, start_seconds: float) -> str:
    """Why the shards that a cluster has not done are given up; '' while they are not."""
    if life.silent is None and life.overdue is not None:
        return f"The deadline came, and {_NOBODY} had taken up a shard. Has it workers?"
    silent = life.since if life.silent is None else life.silent
    if silent > start_seconds:
        return (
            f"For {silent:.0f} s {_NOBODY} has worked at a shard. "
            "Has it workers, and do they have what the tasks ask for?"
        )
    return _why_stuck(life, lost_seconds)


def _why_stuck(life: Life, lost_seconds: float) -> str:
    overdue = life.overdue is not None and life.overdue > lost_seconds
    if life.still > (lost_seconds if overdue else 1.2 * COMPUTING_SECONDS):
        doing = f" It was at: {life.doing}." if life.doing else ""
        return f"It lives, but {_STUCK} for {life.still:.0f} s.{doing}"
    return ""


def is_device_missing(lost: Mapping[str, str]) -> bool:
    """Whether a device was not there and no other may stand in for it: that is to be repaired, not worked around."""
    return any(DeviceUnavailable.__name__ in reason for reason in lost.values())


def needs_somebody(lost: Mapping[str, str]) -> bool:
    """Whether a run that ended at its deadline has failed all the same: the next one would not do better by itself."""
    return is_device_missing(lost) or any(_STUCK in reason or _NOBODY in reason for reason in lost.values())


def who_is_left_out(reports: Iterable[ShardReport]) -> dict[str, str]:
    """Who gets no more work, by the reports of all, and why: whose model hangs, who waited in vain for files, and who
    could not read any."""
    left = {}
    for name, did in by_process(reports).items():
        if did.hung:
            left[name] = " ".join(map(str, did.hung[:3]))
        elif did.is_blind:
            left[name] = f"It could read none of its {len(did.unread):,} images: {did.unread[0]}. Does it see them?"
    return left


def by_process(reports: Iterable[ShardReport]) -> Mapping[str, ShardReport]:
    """All that each process did, by the name of its worker, and of the process where the worker has several."""
    reports = list(reports)
    places: dict[str, set[str]] = {}
    for report in reports:
        places.setdefault(report.worker, set()).add(report.place)
    several = {worker for worker, found in places.items() if len(found) > 1}
    names = [f"{did.worker}, {did.place}" if did.worker in several else did.worker for did in reports]
    return {
        name: combined([did for did, own in zip(reports, names, strict=True) if own == name])
        for name in dict.fromkeys(names)
    }

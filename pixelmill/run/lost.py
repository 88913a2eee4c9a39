"""When a run gives somebody up: decisions about what it sees of those who embed for it, as functions of that alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pixelmill.errors import DeviceUnavailable
from pixelmill.run.handoff import ALIVE_SECONDS, RunPlace, Sign
from pixelmill.run.results import ShardReport, combined
from pixelmill.watch.calls import COMPUTING_SECONDS
from pixelmill.watch.clocks import Unchanged, past
from pixelmill.watch.stopping import asked, why_it_ends

LOST_SECONDS = 12 * ALIVE_SECONDS
"""A worker that has not said for so long that it lives is lost; so is one that has not gone forward for so long when
the deadline has been over for as long."""
STARTING_SECONDS = 180.0
"""How long a process may take from its start to its first sign of life: it imports PyTorch."""
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


@dataclass(frozen=True, slots=True)
class Queue:
    """What Prefect says of the queue in which a worker's run waits. `unpolled`: for how many seconds nobody was seen to
    ask it for work; None if nobody ever did."""

    pool: str
    name: str
    pool_is_paused: bool = False
    is_paused: bool = False
    unpolled: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """What Prefect says of a worker's run: its state, for how many seconds it has been in it, and the words of one that
    has failed; while it runs, what the run folder shows of it; while it waits, its queue."""

    state: Literal["waiting", "taken", "running", "done", "failed", "other"]
    age: float
    words: str = ""
    life: Life | None = None
    queue: Queue | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a worker's run: whether no more is to be expected of it, why if it is lost, and in which state
    Prefect is to end it, if it has not ended by itself."""

    is_over: bool
    why: str = ""
    end_as: Literal["crashed", "cancelled"] | None = None


_WAIT = Verdict(is_over=False)


def judge(
    run: WorkerRun, *, start_seconds: float, is_past_deadline: bool, lost_seconds: float = LOST_SECONDS,
    starting_seconds: float = STARTING_SECONDS,
) -> Verdict:  # fmt: skip
    """Whether to wait for a worker's run: it may wait in its queue for `start_seconds` if nobody would take it, and for
    its turn until the deadline."""
    if run.state == "done":
        return Verdict(is_over=True)
    if run.state == "failed":
        return Verdict(is_over=True, why=run.words)
    if run.life:
        why = why_worker_lost(run.life, lost_seconds=lost_seconds, starting_seconds=starting_seconds)
        return Verdict(is_over=True, why=why, end_as="crashed") if why else _WAIT
    if run.state not in ("waiting", "taken"):
        return _WAIT
    if is_past_deadline:
        return Verdict(is_over=True, why=f"{why_it_ends()} before it began.", end_as="cancelled")
    if run.age <= start_seconds:
        return _WAIT
    if run.state == "taken":
        words = f"Its Prefect worker took the run, and did not start it in {run.age:.0f} s."
        return Verdict(is_over=True, why=words, end_as="crashed")
    nobody = why_nobody_comes(run.queue, lost_seconds=lost_seconds) if run.queue else ""
    words = f"Nobody took its run within {run.age:.0f} s: {nobody}"
    return Verdict(is_over=True, why=words, end_as="cancelled") if nobody else _WAIT


def why_nobody_comes(queue: Queue, *, lost_seconds: float) -> str:
    """Why no Prefect worker takes a run out of its queue, and what to do; '' where it waits for its turn."""
    pool, name = queue.pool, queue.name
    if queue.pool_is_paused:
        return f"pool {pool!r} is paused. Let it go on: prefect work-pool resume {pool}."
    if queue.is_paused:
        return f"queue {name!r} of {pool!r} is paused. Let it go on: prefect work-queue resume {name} --pool {pool}."
    if queue.unpolled is not None and queue.unpolled < lost_seconds:
        return ""
    return f"no Prefect worker polls queue {name!r} of pool {pool!r}. Start one: prefect worker start --pool {pool}."


def life_of(place: RunPlace, worker: str, since: float, deadline: float | None) -> Life:
    """What is to be seen, at the place where they hand over, of a worker that has had its work for `since` seconds."""
    sign = place.sign_of(worker)
    return Life(
        since=since,
        silent=place.unchanged.seconds(f"sign of {worker}", sign) if sign else None,
        still=place.unchanged.seconds(f"progress of {worker}", sign.progress if sign else ""),
        overdue=overdue(deadline),
        doing=sign.doing if sign else "",
    )


def life_of_all(signs: Mapping[str, Sign], unchanged: Unchanged, left: int, deadline: float | None) -> Life:
    """What is to be seen of the processes of a cluster, all together, which have `left` shards to do."""
    silent = [unchanged.seconds(f"sign of {name}", sign) for name, sign in signs.items()]
    still = [unchanged.seconds(f"progress of {name}", sign.progress) for name, sign in signs.items()]
    shards_still = unchanged.seconds("shards left", left)
    return Life(
        since=unchanged.seconds("orders", ""),
        silent=min(silent, default=None),
        still=min([*still, shards_still]),
        overdue=overdue(deadline),
        doing="; ".join(f"{name}: {sign.doing}" for name, sign in signs.items()),
    )


def overdue(deadline: float | None) -> float | None:
    """For how many seconds a deadline has been over; None while it is not, and where a run that was asked to stop waits
    for nobody for long."""
    return time.time() - deadline if deadline is not None and past(deadline) and not asked() else None


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


def why_unreachable(address: str | None, why: str) -> str:
    """Why there is nobody to work on a cluster that cannot be connected to, or made."""
    place = f"at {address} could be reached" if address else "on this machine could be started"
    return f"{_NOBODY.capitalize()} {place}: {why}. See to it, or name another one in [run] cluster."


def _why_stuck(life: Life, lost_seconds: float) -> str:
    overdue = life.overdue is not None and life.overdue > lost_seconds
    if life.still > (lost_seconds if overdue else 1.2 * COMPUTING_SECONDS):
        doing = f" It was at: {life.doing}." if life.doing else ""
        return f"It lives, but {_STUCK} for {life.still:.0f} s.{doing}"
    return ""


def is_device_missing(lost: Mapping[str, str]) -> bool:
    """Whether a device was not there and no other may stand in for it: that is to be repaired, not worked around."""
    return any(DeviceUnavailable.__name__ in reason for reason in lost.values())


def is_without_workers(lost: Mapping[str, str]) -> bool:
    """Whether a cluster has nobody who works. It was waited for; it is not asked once more."""
    return any(_NOBODY in reason.lower() for reason in lost.values())


def needs_somebody(lost: Mapping[str, str]) -> bool:
    """Whether a run that ended at its deadline has failed all the same: the next one would not do better by itself."""
    return is_device_missing(lost) or is_without_workers(lost) or any(_STUCK in reason for reason in lost.values())


def who_is_left_out(reports: Iterable[ShardReport]) -> dict[str, str]:
    """Who gets no more work, by the reports of all, and why: whose model hangs or makes other vectors than are stored,
    who waited in vain for files, and who could not read any, or less than half of them where others read more."""
    left = {}
    processes = by_process(reports)
    for name, did in processes.items():
        if did.hung:
            left[name] = " ".join(map(str, did.hung[:3]))
        elif did.drifted:
            left[name] = " ".join(did.drifted.values())
        elif did.is_blind:
            left[name] = f"It could read none of its {len(did.unread):,} images: {did.unread[0]}. Does it see them?"
        elif _sees_little(did) and any(not _sees_little(other) and not other.is_blind for other in processes.values()):
            images = did.read + len(did.unread)
            left[name] = f"It could read {did.read:,} of its {images:,} images only: {did.unread[0]}. Does it see them?"
    return left


def _sees_little(did: ShardReport) -> bool:
    return len(did.unread) > did.read


def who_drifted(reports: Iterable[ShardReport]) -> set[str]:
    """Who makes other vectors than are stored, by the names of `by_process` and of the workers."""
    processes = by_process(reports)
    return {at for name, did in processes.items() if did.drifted for at in (name, did.worker)}


def who_did_less(shares: Mapping[str, int], reports: Iterable[ShardReport]) -> dict[str, str]:
    """Who said to be done and has not told of every shard of their share: its numbers of shards are in `shares`."""
    told = [report.worker for report in reports if not report.has_more]
    return {
        worker: f"It said that it was done, and has told of {told.count(worker)} of its {shards} shards."
        for worker, shards in shares.items()
        if told.count(worker) < shards
    }


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

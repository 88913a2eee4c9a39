"""Who does the work of a run: it is shared out, and what those who are lost have left is shared out again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pixelmill.errors import DeviceUnavailable, WorkersLost
from pixelmill.plan import Plan
from pixelmill.run.handoff import RunFolder, RunOrders, whole
from pixelmill.run.job import Job
from pixelmill.run.lost import is_device_missing, needs_somebody, who_did_less, who_is_left_out
from pixelmill.run.prepare import plan_for
from pixelmill.run.results import ShardReport, WorkerReport
from pixelmill.run.schedule import schedule_for
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.watch.clocks import past

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often work is shared out: once, and twice more what lost workers left."""

Lost = dict[str, str]
"""Who was lost, and why, by the worker's name."""
Start = Callable[[RunOrders], Lost]
"""Have orders carried out that lie in the run's folder, and wait for everybody."""


@dataclass(slots=True)
class Outcome:
    """What the workers did; who was to do what, in words; who was lost, and why; what became of the work that lost ones
    left; whether the run fails for it."""

    done: list[ShardReport] = field(default_factory=list)
    schedule: str = ""
    lost: Lost = field(default_factory=dict)
    left: str = "Others did what it left."
    unfinished: bool = False

    @property
    def warnings(self) -> list[str]:
        return [f"Worker {name} was lost: {reason} {self.left}" for name, reason in self.lost.items()]

    def check(self) -> None:
        """Raise WorkersLost if work is left that nobody does."""
        if self.unfinished:
            raise WorkersLost(" ".join([*self.warnings, "What was embedded is stored; the next run does the rest."]))


def share_out(
    job: Job, scan: int, matrices: Sequence[Matrix], plan: Plan, start: Start, *,
    earlier: Sequence[Mapping[str, WorkerReport]] = (),
) -> Outcome:  # fmt: skip
    """Have the shards of a plan embedded by those whom `start` starts. What a lost one left is done by the others.

    `earlier` is what the workers did in earlier runs, by which they are known to be fast or slow. Raises
    DeviceUnavailable for a model that no worker's device holds.
    """
    outcome, folder = Outcome(), RunFolder(job.store, scan)
    for _ in range(ROUNDS):
        if not plan.images:
            break
        try:
            orders = orders_for(job, scan, matrices, plan, earlier)
        except DeviceUnavailable:
            if not outcome.lost:
                raise
            break  # those who are left cannot take it over
        outcome.schedule = outcome.schedule or orders.schedule
        outcome.unfinished = False
        lost = _one_round(folder, orders, start, outcome)
        if not lost:
            break
        if past(job.deadline):
            outcome.left, outcome.unfinished = "The deadline came; the next run does the rest.", needs_somebody(lost)
            break
        plan = _plan_again(job, scan, matrices)
        outcome.unfinished = bool(plan.images)
        job = job.model_copy(update={"workers": tuple(w for w in job.workers if w.name not in outcome.lost)})
        if is_device_missing(lost) or (job.fan_out == "workers" and not job.workers):
            break
    if outcome.unfinished and not past(job.deadline):
        outcome.left = "What it left was not done."
    folder.clear()
    return outcome


def orders_for(
    job: Job, scan: int, matrices: Sequence[Matrix], plan: Plan, earlier: Sequence[Mapping[str, WorkerReport]]
) -> RunOrders:
    """Who does what; with workers, as their speed in earlier runs lets expect that it is done soonest."""
    if job.fan_out != "workers":
        return whole(job, scan, matrices, plan.shards, job.fan_out)
    specs = {spec.name: spec for spec in job.specs}
    lacking = {matrix.provenance.fingerprint: specs[matrix.provenance.model] for matrix in matrices}
    schedule = schedule_for(job, earlier, lacking, plan)
    shares = {share.worker: share.shards for share in schedule.shares}
    return RunOrders(
        job=job, scan=scan, matrices=tuple(matrices), shards=plan.shards, shares=shares, schedule=str(schedule)
    )


def _one_round(folder: RunFolder, orders: RunOrders, start: Start, outcome: Outcome) -> Lost:
    """Have orders carried out; who was lost meanwhile, and who gets no more for what they did."""
    folder.give(orders)
    lost = start(orders)
    did = [report for report in folder.reports() if report not in outcome.done]
    outcome.done += did
    if orders.job.fan_out != "inline":  # where nobody else could do it
        lost |= {name: why for name, why in who_is_left_out(did).items() if name not in outcome.lost}
        if not lost and not past(orders.job.deadline):
            lost = who_did_less({worker: len(shards) for worker, shards in orders.shares.items()}, did)
    outcome.lost |= lost
    for name, reason in lost.items():
        log.warning("worker %s was lost: %s", name, reason)
    return lost


def _plan_again(job: Job, scan: int, matrices: Sequence[Matrix]) -> Plan:
    with StoreWriter(job.store) as writer:
        return plan_for(job, writer, matrices, scan)

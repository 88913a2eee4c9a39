"""Who does the work of a run: it is shared out, and what those who are lost have left is shared out again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import cycle

from pixelmill.errors import DeviceUnavailable
from pixelmill.plan import Plan, Shard
from pixelmill.run.facts import facts_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import Job
from pixelmill.run.lost import (
    is_device_missing,
    is_without_workers,
    needs_somebody,
    who_did_less,
    who_drifted,
    who_is_left_out,
)
from pixelmill.run.measure import measure_of
from pixelmill.run.models_left_out import (
    Reasons,
    for_no_device,
    left_out,
    nobody_loads,
    who_cannot_load,
    without,
)
from pixelmill.run.orders import RunOrders, Unsettled
from pixelmill.run.outcome import Lost, Outcome
from pixelmill.run.prepare import Prepared, plan_for, unsettled_again
from pixelmill.run.results import ShardReport, WorkerReport
from pixelmill.run.room import check_room
from pixelmill.run.schedule import able_workers, schedule_for
from pixelmill.run.told import embedding_told
from pixelmill.store.commit import StoreWriter
from pixelmill.watch.calls import doing
from pixelmill.watch.clocks import past
from pixelmill.watch.saying import saying
from pixelmill.watch.stopping import why_it_ends

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often work is shared out: once, and twice more what lost workers left."""

Start = Callable[[RunOrders, Intake], Lost]
"""Have orders carried out, hand what comes of them to the intake, and wait for everybody."""


@saying("Embedding what is missing", doing)
def share_out(
    job: Job, scan: int, prepared: Prepared, start: Start, *, earlier: Sequence[Mapping[str, WorkerReport]] = (),
    outcome: Outcome | None = None,
) -> Outcome:  # fmt: skip
    """Have the shards of a plan embedded by those whom `start` starts. What a lost one left is done by the others.

    `earlier` is what the workers did in earlier runs, by which they are known to be fast or slow; what comes of it is
    put into `outcome` as it comes. A model that nobody can load is left out; raises DeviceUnavailable if no worker's
    device holds any.
    """
    outcome = Outcome() if outcome is None else outcome
    outcome.begin(prepared)
    if prepared.unsettled or prepared.plan.images:
        with StoreWriter(job.store) as writer:
            _Rounds(job, scan, writer, start, outcome, earlier).go(prepared.unsettled, prepared.plan)
    return outcome


class _Rounds:
    """The rounds of one run."""

    def __init__(
        self, job: Job, scan: int, writer: StoreWriter, start: Start, outcome: Outcome,
        earlier: Sequence[Mapping[str, WorkerReport]],
    ) -> None:  # fmt: skip
        self.job = job
        self.scan = scan
        self.writer = writer
        self.start = start
        self.outcome = outcome
        self.earlier = earlier
        self._all = job.workers

    def go(self, unsettled: Sequence[Unsettled], plan: Plan) -> None:
        outcome = self.outcome
        if too_large := left_out(self.job, for_no_device(self.job, self._wanted(unsettled, plan))):
            self._leave_out(too_large)
            unsettled = [one for one in unsettled if one.model not in too_large]
            plan = plan_for(self.job, self.writer, outcome.matrices, self.scan)
        turns = ROUNDS
        while turns:
            if unsettled:
                unsettled = self._settle(unsettled)
                plan = plan_for(self.job, self.writer, outcome.matrices, self.scan)
            if not plan.images:
                break
            if turns == ROUNDS:
                check_room(plan, outcome.matrices, self.writer.snapshot().manifest, self.job.store)
            try:
                orders = self._orders(plan)
            except DeviceUnavailable:
                if not outcome.lost:
                    raise
                break  # those who are left cannot take it over
            outcome.schedule = outcome.schedule or orders.schedule
            lost, drifted, refused = self._one_round(orders)
            turns -= not self._others_may_make(lost)
            if not (lost or refused or drifted):
                outcome.unfinished = False
                break
            if past(self.job.deadline):
                outcome.unfinished = needs_somebody(lost)
                break
            if drifted:
                unsettled = unsettled_again(self.job, self.writer, self.scan, drifted)
            plan = plan_for(self.job, self.writer, outcome.matrices, self.scan)
            outcome.unfinished = bool(plan.images)
            self._without(outcome.lost)
            if is_device_missing(lost) or self._nobody_is_left():
                break
        if past(self.job.deadline):
            outcome.left = f"{why_it_ends()}; the next run does the rest."
            outcome.unfinished = outcome.unfinished or needs_somebody(outcome.lost)
        elif outcome.unfinished or unsettled:
            outcome.left, outcome.unfinished = "What it left was not done.", True

    def _settle(self, unsettled: Sequence[Unsettled]) -> Sequence[Unsettled]:
        """Have workers find out which matrices models fill; what is still unsettled then."""
        for turn in range(ROUNDS):
            settling: dict[str, tuple[Unsettled, ...]] = {}
            try:
                for one in unsettled:
                    worker = self._worker_for(one.model, turn)
                    settling[worker] = (*settling.get(worker, ()), one)
            except DeviceUnavailable:
                if not self.outcome.lost:
                    raise
                break  # those who are left cannot take it over
            intake, lost = self._carried_out(self._given(settling=settling), needs_rows=turn < ROUNDS - 1)
            self.outcome.lost |= lost
            self._leave_out(nobody_loads(self.job, self.outcome.done))
            done = {*intake.settled, *self.outcome.models_left_out}
            unsettled = [one for one in unsettled if one.model not in done]
            # One whose device is missing keeps its share: another settles, and does not do it all in silence.
            self._without({name: why for name, why in self.outcome.lost.items() if not is_device_missing({name: why})})
            if not unsettled or past(self.job.deadline) or self._nobody_is_left():
                break
        return unsettled

    def _wanted(self, unsettled: Sequence[Unsettled], plan: Plan) -> set[str]:
        """The models that have something to do."""
        lacking = {m.provenance.model for m in self.outcome.matrices if plan.pending.get(m.provenance.fingerprint)}
        return lacking | {one.model for one in unsettled}

    def _leave_out(self, reasons: Reasons) -> None:
        """Go on without models that cannot be had."""
        self.outcome.models_left_out |= reasons
        self.outcome.matrices = [m for m in self.outcome.matrices if m.provenance.model not in reasons]
        self.job = without(self.job, reasons)

    def _nobody_is_left(self) -> bool:
        return (self.job.fan_out == "workers" and not self.job.workers) or is_without_workers(self.outcome.lost)

    def _worker_for(self, model: str, turn: int) -> str:
        """Who settles a model, each turn another."""
        if self.job.fan_out != "workers":
            return self.job.fan_out
        spec = next(spec for spec in self.job.specs if spec.name == model)
        able = able_workers(spec, self.job.workers)
        return able[turn % len(able)].name

    def _one_round(self, orders: RunOrders) -> tuple[Lost, list[str], list[str]]:
        """Have orders carried out; who was lost meanwhile, and who gets no more for what they did; the models that
        nobody makes any more as they are stored; what was handed in and could not be used, and what did not load."""
        intake, lost = self._carried_out(orders)
        did = intake.done
        drifted = self._nobody_makes(did)
        if self.job.fan_out != "inline":  # where nobody else could do it
            lost |= {name: why for name, why in who_is_left_out(did).items() if name not in self.outcome.lost}
            if not lost and not intake.refused and not past(self.job.deadline):
                lost = who_did_less({worker: len(shards) for worker, shards in orders.shares.items()}, did)
            if drifted:
                lost = self._without_drifted(lost)
                self.outcome.lost = self._without_drifted(self.outcome.lost)
        self.outcome.lost |= lost
        for name, reason in lost.items():
            log.warning("worker %s was lost: %s", name, reason)
        self._leave_out(nobody_loads(self.job, self.outcome.done))
        elsewhere = {model for report in did for model in report.not_loaded} - self.outcome.models_left_out.keys()
        return lost, drifted, [*intake.refused, *elsewhere]

    def _nobody_makes(self, did: Sequence[ShardReport]) -> list[str]:
        """The models of which all who could embed with them make other vectors than are stored."""
        made = {model for report in did for model, images in report.embedded.items() if images}
        drifted = {model: {r.worker for r in did if model in r.drifted} for r in did for model in r.drifted}
        specs = {spec.name: spec for spec in self.job.specs}
        return [
            model
            for model, workers in drifted.items()
            if model not in made
            and (
                self.job.fan_out != "workers"
                or {w.name for w in able_workers(specs[model], self.job.workers)} <= workers
            )
        ]

    def _without_drifted(self, lost: Lost) -> Lost:
        """Those who are not lost for vectors that, as it turns out, everybody makes."""
        drifted = who_drifted(self.outcome.done)
        return {name: why for name, why in lost.items() if name not in drifted}

    def _others_may_make(self, lost: Lost) -> bool:
        """Whether all who were lost make other vectors than are stored: whether others do too, the next round shows."""
        return self.job.fan_out == "workers" and bool(lost) and not self._without_drifted(lost)

    def _carried_out(self, orders: RunOrders, *, needs_rows: bool = False) -> tuple[Intake, Lost]:
        intake = Intake(self.writer, orders, self.outcome.unread)
        intake.needs_rows = needs_rows
        try:
            with embedding_told(orders, at=intake):
                lost = self.start(orders, intake)
        finally:  # what was stored is told, whatever ends this
            self.outcome.done += intake.done
            self.outcome.refused += intake.refused
        for settled in intake.settled.values():
            self._fill(settled.model, settled.made.fingerprint)
            self.outcome.measured |= {settled.model: settled.measured} if settled.measured else {}
        return intake, lost

    def _fill(self, model: str, fingerprint: str) -> None:
        """Let a model fill the matrix that was settled on."""
        matrix = self.writer.snapshot().manifest.matrix(fingerprint)
        filled = {m.provenance.model: m for m in self.outcome.matrices} | ({model: matrix} if matrix else {})
        self.outcome.matrices = [filled[spec.name] for spec in self.job.specs if spec.name in filled]

    def _orders(self, plan: Plan) -> RunOrders:
        """Who does what; with workers, as their speed in earlier runs lets expect that it is done soonest."""
        job, matrices = self.job, self.outcome.matrices
        if job.fan_out != "workers":
            return self._given(plan, shares=None)
        specs = {spec.name: spec for spec in job.specs}
        lacking = {matrix.provenance.fingerprint: specs[matrix.provenance.model] for matrix in matrices}
        schedule = schedule_for(job, self.earlier, lacking, plan, avoiding=who_cannot_load(self.outcome.done))
        log.info("%s", schedule)
        shares = {share.worker: dict(share.shards) for share in schedule.shares}
        for shard, worker in zip(_nobodys(plan, shares), cycle(job.workers), strict=False):
            shares.setdefault(worker.name, {})[shard.number] = ()
        return self._given(plan, shares=shares, schedule=str(schedule))

    def _given(
        self, plan: Plan | None = None, *, shares: Mapping[str, Mapping[int, tuple[str, ...]]] | None = None,
        settling: Mapping[str, tuple[Unsettled, ...]] | None = None, schedule: str = "",
    ) -> RunOrders:  # fmt: skip
        store = self.writer.snapshot()
        matrices, shards = self.outcome.matrices if plan else [], plan.shards if plan else ()
        measures = {m.provenance.fingerprint: measure_of(store, m) for m in matrices}
        lacking = tuple(m.provenance.model for m in matrices if plan and plan.pending.get(m.fingerprint))
        everything = {shard.number: lacking for shard in shards}
        if shares is None:
            shares = {self.job.fan_out: everything} if shards else {}
        return RunOrders(
            job=self.job, store_id=store.manifest.store_id, scan=self.scan, matrices=tuple(matrices), measures=measures,
            shards=shards, shares=shares, settling=settling or {}, schedule=schedule,
            left_out=tuple(self.outcome.lost), facts=bool(facts_of(self.job, store.manifest)),
        )  # fmt: skip

    def _without(self, lost: Lost) -> None:
        left = tuple(worker for worker in self._all if worker.name not in lost)
        self.job = self.job.model_copy(update={"workers": left})


def _nobodys(plan: Plan, shares: Mapping[str, Collection[int]]) -> Iterator[Shard]:
    """The shards that no model needs, of which facts are to be made."""
    return (shard for shard in plan.shards if not any(shard.number in share for share in shares.values()))

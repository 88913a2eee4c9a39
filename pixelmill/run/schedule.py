"""Which worker embeds which shards with which models, and how long that takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pixelmill.errors import DeviceUnavailable
from pixelmill.formatting import in_words
from pixelmill.models.base import ModelSpec
from pixelmill.models.cost import memory_needed
from pixelmill.plan import Plan, Shard
from pixelmill.run.job import Job, Worker
from pixelmill.run.results import WorkerReport
from pixelmill.run.throughput import Throughput

_NOBODY: Mapping[str, Collection[str]] = MappingProxyType({})


@dataclass(slots=True)
class Share:
    """One worker's part: the models of each of its shards, by number; images by model; about how many seconds."""

    worker: str
    shards: dict[int, tuple[str, ...]] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    reading: float = 0.0
    computing: float = 0.0

    @property
    def seconds(self) -> float:
        """Reading and models run beside each other: the slower of the two counts."""
        return max(self.reading, self.computing)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The parts of all workers that have one. `measured`: whether each figure comes from an earlier run."""

    images: int
    models: int
    shares: tuple[Share, ...]
    measured: bool

    @property
    def seconds(self) -> float:
        return max((share.seconds for share in self.shares), default=0.0)

    def __str__(self) -> str:
        if not self.shares:
            return "Nothing to embed."
        plural = "" if self.models == 1 else "s"
        guess = "" if self.measured else ", a guess: not all of it was ever measured here"
        shares = "; ".join(f"{share.worker}: {_told(share)}, {in_words(share.seconds)}" for share in self.shares)
        return (
            f"{self.images:,} images x {self.models} model{plural}, about {in_words(self.seconds)}{guess} ({shares})."
        )


def schedule_for(
    job: Job, earlier: Iterable[Mapping[str, WorkerReport]], specs: Mapping[str, ModelSpec], plan: Plan, *,
    avoiding: Mapping[str, Collection[str]] = _NOBODY,
) -> Schedule:  # fmt: skip
    """The shares of a job's workers, by what `earlier` runs tell of their speed; none of a model for those whom it is
    `avoiding`. A cluster counts as one worker."""
    workers = job.workers if job.fan_out == "workers" else (Worker(name=job.fan_out, device=job.device),)
    throughput = Throughput(job.specs, earlier, {worker.name: worker.device for worker in workers})
    scheduled = schedule(plan, specs, workers, throughput, avoiding=avoiding)
    if job.fan_out in ("dask", "ray"):
        for share in scheduled.shares:
            share.reading, share.computing = share.reading / job.parallel, share.computing / job.parallel
    return scheduled


def schedule(
    plan: Plan, specs: Mapping[str, ModelSpec], workers: Sequence[Worker], throughput: Throughput, *,
    avoiding: Mapping[str, Collection[str]] = _NOBODY,
) -> Schedule:  # fmt: skip
    """Give each (shard, model) to the worker that is done first with it; the model that takes longest goes first.

    `specs` are the models by the fingerprint of the matrix that lacks images. A model stays off a device that it does
    not fit. Reading a shard counts once a worker, so that models gather where their images are decoded anyway. List
    scheduling, longest first: on equal workers at most 4/3 of the best possible (Graham 1969).
    """
    shares = {worker.name: Share(worker.name) for worker in workers}
    wanted = {fingerprint: spec for fingerprint, spec in specs.items() if plan.pending.get(fingerprint)}
    able = {
        fingerprint: [w for w in able_workers(spec, workers) if w.name not in avoiding.get(spec.name, ())]
        for fingerprint, spec in wanted.items()
    }

    def seconds(fingerprint: str, worker: Worker) -> float:
        return throughput.model(worker.name, worker.device, wanted[fingerprint]) * plan.pending[fingerprint]

    for fingerprint in sorted(wanted, key=lambda f: -min(seconds(f, worker) for worker in able[f])):
        part = plan.pending[fingerprint] / plan.images
        for shard in plan.shards:
            _give(shares, shard, part, wanted[fingerprint], able[fingerprint], throughput)
    for fingerprint, spec in wanted.items():
        _settle(list(shares.values()), spec.name, plan.pending[fingerprint])
    measured = all(throughput.measured(share.worker, model) for share in shares.values() for model in share.images)
    return Schedule(plan.images, len(wanted), tuple(s for s in shares.values() if s.shards), measured)


def able_workers(spec: ModelSpec, workers: Sequence[Worker]) -> list[Worker]:
    """The workers whose device holds the model, as far as their memory is known."""
    need = memory_needed(spec) / 2**30
    able = [worker for worker in workers if worker.memory_gb is None or need <= worker.memory_gb]
    if not able:
        have = ", ".join(f"{worker.name} {worker.memory_gb:g} GB" for worker in workers)
        raise DeviceUnavailable(
            f"Expected a worker whose device holds {spec.name}: it takes about {need:.1f} GB. "
            f"Found {have}. Leave the model out, or add a worker in [[workers]]."
        )
    return able


def _give(
    shares: Mapping[str, Share], shard: Shard, part: float, spec: ModelSpec, workers: Sequence[Worker],
    throughput: Throughput,
) -> None:  # fmt: skip
    def after(worker: Worker) -> tuple[float, float]:
        share = shares[worker.name]
        reading = 0.0 if shard.number in share.shards else throughput.reading(worker.name) * shard.images
        loading = 0.0 if spec.name in share.images else throughput.loading(spec)
        computing = throughput.model(worker.name, worker.device, spec) * shard.images * part + loading
        return share.reading + reading, share.computing + computing

    chosen = min(workers, key=lambda worker: max(after(worker)))
    share = shares[chosen.name]
    share.reading, share.computing = after(chosen)
    share.shards[shard.number] = (*share.shards.get(shard.number, ()), spec.name)
    share.images[spec.name] = share.images.get(spec.name, 0) + shard.images


def _settle(shares: Sequence[Share], model: str, pending: int) -> None:
    """Turn the images of a model's shards into those of them that lack it, so that they add up to `pending`."""
    total = sum(share.images.get(model, 0) for share in shares)
    done = given = 0
    for share in shares:
        if model in share.images:
            done += share.images[model]
            upto = round(pending * done / total)
            share.images[model], given = upto - given, upto


def _told(share: Share) -> str:
    return ", ".join(f"{model} ({images:,})" for model, images in share.images.items())

"""What a run has others do: its job, the matrices with what workers are measured by, and who does which shards."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from pixelmill.devices import resolve_device, usable_device
from pixelmill.embedding.facts import FACTS_GROUP, FACTS_NAME
from pixelmill.plan import Shard
from pixelmill.run.job import Job
from pixelmill.run.measure import Measure
from pixelmill.sources.found import FoundFile
from pixelmill.store.manifest import Fillable, Matrix
from pixelmill.travel.mapping import weights_seen_here
from pixelmill.travel.messages import Message, MessageRefused, decode, encode

KIND = "orders"


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A model of which it has to be found out which matrix it fills: one of those `found`, with what it is measured by
    there, or a new one, whose first rows are of some of `samples`."""

    model: str
    found: tuple[tuple[Matrix, Measure], ...] = ()
    samples: tuple[FoundFile, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOrders:
    """A run's job, and who does what: `shares` holds, by worker and shard number, the models to embed with, `settling`
    by worker the models that it settles first. `facts`: those of what a worker decodes are made as well, of pictures
    that lack them. `schedule` says it in words, and `left_out` which processes get no more work."""

    job: Job
    store_id: str
    scan: int
    matrices: tuple[Matrix, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    shards: tuple[Shard, ...] = ()
    shares: Mapping[str, Mapping[int, tuple[str, ...]]] = field(default_factory=dict)
    settling: Mapping[str, tuple[Unsettled, ...]] = field(default_factory=dict)
    schedule: str = ""
    left_out: tuple[str, ...] = ()
    facts: bool = False

    @property
    def asked(self) -> tuple[Fillable, ...]:
        """What is to be filled."""
        return (*self.matrices, FACTS_GROUP) if self.facts else self.matrices

    def of(self, worker: str) -> Iterator[tuple[Shard, tuple[str, ...]]]:
        """The shards that a worker is to do, and the fingerprints of the matrices to fill for each."""
        share = self.shares.get(worker, {})
        for shard in self.shards:
            if shard.number in share:
                yield shard, self.fingerprints(share[shard.number])

    def fingerprints(self, models: Collection[str]) -> tuple[str, ...]:
        """Of the matrices of some models, and of the facts."""
        filled = [matrix.fingerprint for matrix in self.matrices if matrix.provenance.model in models]
        return (*filled, FACTS_GROUP.fingerprint) if self.facts else tuple(filled)

    @property
    def workers(self) -> list[str]:
        """Who has something to do."""
        return list(dict.fromkeys([*self.settling, *self.shares]))

    def job_of(self, worker: str) -> tuple[Job, str]:
        """The job as that worker does it, on its own device, and a warning if that is another than was asked for.

        Raises DeviceUnavailable for a device that is not there, unless the settings let the CPU stand in.
        """
        named = {w.name: w.device for w in self.job.workers}
        is_used = worker in named or any(spec.name not in self.job.devices for spec in self.job.specs)
        asked = _visible(named.get(worker, self.job.device)) if is_used else "cpu"
        fall_back = self.job.missing_device == "cpu"
        device, warning = usable_device(asked, fall_back=fall_back)
        asked_by_model = {} if worker in named else self.job.devices
        found = {model: usable_device(own, fall_back=fall_back) for model, own in asked_by_model.items()}
        told = " ".join(filter(None, dict.fromkeys([warning, *(words for _, words in found.values())])))
        paths = paths_of(self.job, worker)
        update = {
            "device": device, "devices": {model: own for model, (own, _) in found.items()},
            "cache": self.job.cache.here(paths) if self.job.fan_out != "inline" else self.job.cache,
            "specs": tuple(weights_seen_here(spec, paths) for spec in self.job.specs),
        }  # fmt: skip
        return self.job.model_copy(update=update), told and f"{worker}: {told}"

    def images(self, worker: str) -> dict[str, int]:
        """At most so many images a worker is to embed, by model; FACTS_NAME stands for shards of which nothing but
        facts are made."""
        share, images = self.shares.get(worker, {}), dict[str, int]()
        for shard in self.shards:
            for model in share[shard.number] or (FACTS_NAME,) if shard.number in share else ():
                images[model] = images.get(model, 0) + shard.images
        return images

    def all_images(self) -> dict[str, int]:
        """At most so many images all are to embed together, by model."""
        images: dict[str, int] = {}
        for worker in self.shares:
            for model, number in self.images(worker).items():
                images[model] = images.get(model, 0) + number
        return images

    def message(self) -> bytes:
        """The orders as they travel: without sources, and with the seconds that are left until the deadline, as the
        clocks of others are others."""
        arrays: dict[str, np.ndarray] = {}
        job = self.job.model_copy(update={"sources": (), "tables": (), "heads": {}})
        header = {
            "job": job.model_dump(mode="python"),
            "seconds_left": None if job.deadline is None else job.deadline - time.time(),
            "matrices": [_bare(matrix) for matrix in self.matrices],
            "measures": {f: _packed(measure, f, arrays) for f, measure in self.measures.items()},
            "shards": [[shard.number, shard.first, shard.images] for shard in self.shards],
            "shares": [[worker, list(share.items())] for worker, share in self.shares.items()],
            "settling": [
                [worker, [_unsettled(one, f"{worker} {i}", arrays) for i, one in enumerate(models)]]
                for worker, models in self.settling.items()
            ],
            "left_out": self.left_out,
            "facts": FACTS_GROUP.fingerprint if self.facts else "",
        }  # fmt: skip
        return encode(Message(KIND, self.store_id, self.scan, header, arrays))

    @classmethod
    def of_message(cls, data: bytes, waited: float = 0.0) -> RunOrders:
        """The orders that a message holds, with the deadline on the clock of this machine: `waited` seconds less are
        left than were when they were given. Raises MessageRefused."""
        message = decode(data, KIND)
        said, arrays = message.header, message.arrays
        try:
            left = said["seconds_left"]
            deadline = None if left is None else time.time() + left - waited
            job = Job.model_validate({**said["job"], "deadline": deadline})
            return cls(
                job=job, store_id=message.store_id, scan=message.run,
                matrices=tuple(map(Matrix.model_validate, said["matrices"])),
                measures={f: _measure(measure, f, arrays) for f, measure in said["measures"].items()},
                shards=tuple(Shard(*shard) for shard in said["shards"]),
                shares={worker: {n: tuple(m) for n, m in share} for worker, share in said["shares"]},
                settling={
                    worker: tuple(_of_unsettled(one, f"{worker} {i}", arrays) for i, one in enumerate(models))
                    for worker, models in said["settling"]
                },
                left_out=tuple(said["left_out"]),
                facts=said["facts"] == FACTS_GROUP.fingerprint,  # other versions are not this program's to make
            )  # fmt: skip
        except (ValidationError, LookupError, TypeError, ValueError) as error:
            raise MessageRefused(f"Expected the orders of a run. What was handed over is none: {error}") from error


def paths_of(job: Job, worker: str) -> Mapping[str, str]:
    """Where a worker sees what the run calls by another path."""
    return next((one.paths for one in job.workers if one.name == worker), {})


def _bare(matrix: Matrix) -> dict[str, Any]:
    """A matrix without where its rows lie, which only the store needs."""
    return matrix.model_copy(update={"extents": ()}).model_dump()


def _packed(measure: Measure, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    arrays.update({f"{name} {part}": array for part, array in measure.arrays().items()})
    return measure.header()


def _measure(header: Mapping[str, Any], name: str, arrays: Mapping[str, np.ndarray]) -> Measure:
    return Measure.of(header, {part: arrays[f"{name} {part}"] for part in ("contents", "vectors")})


def _unsettled(one: Unsettled, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    found = [[_bare(m), _packed(measure, f"{name} {i}", arrays)] for i, (m, measure) in enumerate(one.found)]
    return {"model": one.model, "found": found, "samples": one.samples}


def _of_unsettled(said: Mapping[str, Any], name: str, arrays: Mapping[str, np.ndarray]) -> Unsettled:
    found = [
        (Matrix.model_validate(matrix), _measure(measure, f"{name} {i}", arrays))
        for i, (matrix, measure) in enumerate(said["found"])
    ]
    return Unsettled(said["model"], tuple(found), tuple(FoundFile(*file) for file in said["samples"]))


def _visible(device: str) -> str:
    """`cuda:N` as this process must name it: the only GPU that it may see, if it is there, is its first."""
    if not device.startswith("cuda:") or os.environ.get("CUDA_VISIBLE_DEVICES") != device.removeprefix("cuda:"):
        return device
    return "cuda:0" if resolve_device("auto") == "cuda:0" else device

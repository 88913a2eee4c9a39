"""What workers did in a run: shard by shard, and in sum."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt

from pixelmill.embedding.timing import Timing
from pixelmill.watch.hangs import COMPUTING, Hang

if TYPE_CHECKING:
    from pixelmill.embedding.shard import Result
    from pixelmill.embedding.targets import Target

_EXAMPLES = 5

Ended = Literal["done", "failed", "cancelled", "cut off"]
"""How a run ended: by itself, with an error, because somebody or something stopped it, or without a word (killed)."""


class WorkerModel(BaseModel):
    """What a worker did with one model; `seconds` are those that the model was busy."""

    model_config = ConfigDict(frozen=True)

    device: str
    images: NonNegativeInt
    seconds: FiniteFloat


class WorkerReport(BaseModel):
    """What a worker did: images read, seconds at work, seconds that reading and decoding took (all its threads
    together), its models, and for how many seconds these waited for files to be read, and to be decoded."""

    model_config = ConfigDict(frozen=True)

    images: NonNegativeInt
    seconds: FiniteFloat
    reading_seconds: FiniteFloat
    models: dict[str, WorkerModel]
    waited_reading: FiniteFloat = 0.0
    waited_decoding: FiniteFloat = 0.0


@dataclass(frozen=True, slots=True)
class Noted:
    """Pictures that were taken although the same is wrong with their files, as viewers take them: how many, and the
    paths of a few."""

    images: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: Noted) -> Noted:
        return Noted(self.images + other.images, (*self.examples, *other.examples)[:_EXAMPLES])


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What a worker did: images read and refused, vectors by model, of which `embedded_twice` were left out because the
    store had them already, the `facts` of so many images, on which devices, how long the stages took (with reading and
    decoding summed over `threads`), the files left for later, with the reason, those that were taken although something
    is wrong with them, by what it is, and what hung. `checks` holds, by fingerprint, how many stored vectors it has
    embedded again to compare, and the least cosine; `drifted` the models that make other vectors here, in words, and
    `not_loaded` those that could not be had here, and why: it has embedded nothing with them. `place` is the process
    that did it, on which machine; `has_more` tells that a further piece of the shard is to follow."""

    worker: str = ""
    place: str = ""
    read: int = 0
    refused: int = 0
    embedded: dict[str, int] = field(default_factory=dict)
    embedded_twice: int = 0
    facts: int = 0
    devices: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    timing: Timing = field(default_factory=Timing)
    threads: int = 1
    unread: tuple[str, ...] = ()
    noted: dict[str, Noted] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    hung: tuple[Hang, ...] = ()
    checks: dict[str, tuple[int, float]] = field(default_factory=dict)
    drifted: dict[str, str] = field(default_factory=dict)
    not_loaded: dict[str, str] = field(default_factory=dict)
    has_more: bool = False

    @property
    def is_blind(self) -> bool:
        """Whether none of its files could be read, as where a disk is not mounted."""
        return bool(self.unread) and not self.read

    @property
    def is_of_use(self) -> bool:
        """Whether others need not do the same again: it could read files, and its models work as they did before."""
        return not (self.is_blind or self.drifted or self.is_stuck)

    @property
    def is_stuck(self) -> bool:
        """Whether its model hangs: the process can do nothing more."""
        return any(hang.stage in COMPUTING for hang in self.hung)


def told_of(result: Result, targets: Sequence[Target]) -> ShardReport:
    """What is told of a pass over files for some matrices."""
    names = {target.fingerprint: target.model.spec.name for target in targets}
    return ShardReport(
        read=result.read,
        refused=len({failure.path for failure in result.rows.failures}),
        embedded={names[f]: len(vectors.index) for f, vectors in result.rows.vectors.items()},
        facts=len(result.rows.facts.index) if result.rows.facts else 0,
        devices={target.model.spec.name: str(target.model.device) for target in targets},
        timing=result.timing,
        unread=unread_of(result),
        noted=_noted(result),
        hung=tuple(result.hung),
    )


def unread_of(result: Result) -> tuple[str, ...]:
    """The files that could not be read, each with the reason."""
    return tuple(f"{file.absolute}: {reason}" for file, reason in result.unread)


def _noted(result: Result) -> dict[str, Noted]:
    noted: dict[str, Noted] = {}
    for file, note in result.noted:
        noted = added(noted, {note: Noted(1, (file.absolute,))})
    return noted


def worker_report(did: ShardReport) -> WorkerReport:
    """What `Throughput` learns from: reading is what all threads together took."""
    seconds = did.timing.models
    reading = did.timing.read / ((did.timing.read + did.timing.decode) or 1.0)
    return WorkerReport(
        images=did.read,
        seconds=round(did.seconds, 3),
        reading_seconds=round((did.timing.read + did.timing.decode) / did.threads, 3),
        waited_reading=round(did.timing.wait * reading, 3),
        waited_decoding=round(did.timing.wait * (1 - reading), 3),
        models={
            model: WorkerModel(device=did.devices[model], images=images, seconds=round(seconds.get(model, 0.0), 3))
            for model, images in did.embedded.items()
        },
    )


def this_process() -> str:
    """This process and its machine, as people look for them."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def combined(reports: Sequence[ShardReport]) -> ShardReport:
    """Several reports as one."""
    total, timing = ShardReport(), Timing()
    for report in reports:
        timing.add(report.timing)
        models = {*total.embedded, *report.embedded}
        total = ShardReport(
            worker=report.worker,
            place=report.place,
            threads=report.threads,
            read=total.read + report.read,
            refused=total.refused + report.refused,
            embedded={model: total.embedded.get(model, 0) + report.embedded.get(model, 0) for model in models},
            embedded_twice=total.embedded_twice + report.embedded_twice,
            facts=total.facts + report.facts,
            devices={**total.devices, **report.devices},
            seconds=total.seconds + report.seconds,
            unread=(*total.unread, *report.unread),
            noted=added(total.noted, report.noted),
            warnings=(*total.warnings, *report.warnings),
            hung=(*total.hung, *report.hung),
            checks={**total.checks, **report.checks},
            drifted={**total.drifted, **report.drifted},
            not_loaded={**total.not_loaded, **report.not_loaded},
        )
    return replace(total, timing=timing)


def added(noted: Mapping[str, Noted], more: Mapping[str, Noted]) -> dict[str, Noted]:
    """What two shards noted, as one."""
    return {note: noted.get(note, Noted()) + more.get(note, Noted()) for note in {**noted, **more}}

"""What has come of the work of a run so far, by all who do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pixelmill.embedding.precision import PrecisionFound
from pixelmill.errors import ModelsLeftOut, Unfinished, WorkersLost
from pixelmill.run.intake import Unread
from pixelmill.run.models_left_out import Reasons, in_words, who_cannot_load
from pixelmill.run.prepare import Prepared
from pixelmill.run.results import ShardReport
from pixelmill.store.manifest import Matrix

Lost = dict[str, str]
"""Who was lost, and why, by the worker's name."""


@dataclass(slots=True)
class Outcome:
    """What the workers did, and the matrices that they filled; who was to do what, in words; who was lost, and why;
    what became of the work that lost ones left; whether the run fails for it; by model, how a precision was
    `measured`."""

    matrices: list[Matrix] = field(default_factory=list)
    done: list[ShardReport] = field(default_factory=list)
    schedule: str = ""
    lost: Lost = field(default_factory=dict)
    left: str = "What it left was given out again."
    refused: list[str] = field(default_factory=list)
    unfinished: bool = False
    unread: Unread = field(default_factory=Unread)
    models_left_out: Reasons = field(default_factory=dict)
    measured: dict[str, PrecisionFound] = field(default_factory=dict)

    def begin(self, prepared: Prepared) -> None:
        """Begin with what is settled, and with what was taken in, before anything is shared out."""
        self.matrices, self.done = list(prepared.matrices), list(prepared.taken_in)
        self.refused = list(prepared.refused)
        self.models_left_out |= prepared.models_left_out
        self.measured |= prepared.measured

    @property
    def warnings(self) -> list[str]:
        lost = (f"Worker {name} was lost: {reason} {self.left}" for name, reason in self.lost.items())
        out = (f"{model} was left out: {reason}" for model, reason in self.models_left_out.items())
        elsewhere = (
            f"Worker {worker} could not load {model}; others did its share. {reason}"
            for model, whom in who_cannot_load(self.done).items()
            if model not in self.models_left_out
            for worker, reason in whom.items()
        )
        return [*lost, *out, *elsewhere, *self.refused]

    @property
    def reports(self) -> list[ShardReport]:
        """What the workers did, without the files that one could not read and another could; what nobody could read
        counts once."""
        told = set(self.unread.read_later)
        return [replace(did, unread=tuple(_untold(did.unread, told))) for did in self.done]

    def undone(self) -> Unfinished | None:
        """WorkersLost, if work is left that nobody does; ModelsLeftOut, if it is that of models that cannot be had."""
        if self.unfinished:
            return WorkersLost(" ".join([*self.warnings, "What was embedded is stored; the next run does the rest."]))
        return ModelsLeftOut(in_words(self.models_left_out)) if self.models_left_out else None


def _untold(unread: Sequence[str], told: set[str]) -> Iterator[str]:
    for one in unread:
        if one not in told:
            told.add(one)
            yield one

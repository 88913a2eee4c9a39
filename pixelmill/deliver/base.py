"""The contract of targets: where vectors are delivered to, one file a kind.

A target holds *generations* of rows, of which readers see one under the delivery's name. Another is filled beside it
and takes its place at once. Beside them it keeps what it knows of each (`Generation`), by which a delivery goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from pixelmill.deliver.generation import Generation, Shape

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK: Final = 16_384
"""Rows that are compared and written at a time: k * BLOCK to (k + 1) * BLOCK, whether they are delivered or not. Like
SECONDS, read as `base.BLOCK` where it is needed: tests make it small. With another number a new
generation is made, for Parquet has a file a block."""
SECONDS: Final = 60.0
"""How long an answer of a target is waited for."""
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Held:
    """Rows, in any order and as often as they are there, and the digest that each was sent with: both int64 (n,). What
    has no row may stand as one of a number below 0, which `Changes.gone` takes away."""

    rows: Rows
    digests: Rows


@dataclass(frozen=True, slots=True)
class Changes:
    """What makes a block of a generation right: rows that are new or other than those held, as a record batch of
    `Shape.schema`, ascending; of these rows the ones that are held in another form; and the rows that are gone."""

    batch: pa.RecordBatch
    replaced: Rows
    gone: Rows

    def __bool__(self) -> bool:
        return bool(len(self.gone) or self.batch.num_rows)


class Target(ABC):
    """A place of deliveries, open for one of them. Use it in a `with`.

    Every method raises TargetUnavailable where the target does not answer, is full or may only be read *now*, and
    DeliveryRefused where trying again does not help: a wrong password, a table of strangers. No error tells a password.
    What takes longer than an answer may says meanwhile that it goes on (`watch.calls.go_on`), or counts as hanging.
    """

    keeps_deleted: ClassVar[bool] = True
    """Whether bytes of rows that were deleted may stay in its files, until all is made anew."""
    has_transactions: ClassVar[bool] = False
    """Whether `write` writes the rows and what is known of them both or neither."""

    @abstractmethod
    def generations(self) -> list[Generation]:
        """What is kept under the delivery's name: at most one that is served, and others, begun and left. Raises
        DeliveryRefused where there is something under that name that no delivery made; nothing of it is touched."""

    @abstractmethod
    def begin(self, generation: Generation, shape: Shape) -> None:
        """Make an empty generation, which readers do not see; keep what is known of it."""

    @abstractmethod
    def held(self, key: str, start: int, stop: int | None) -> Held:
        """The rows of a generation from `start` to before `stop`, or all behind; read as they are, at once after a
        write as well. At most BLOCK numbers lie between `start` and `stop`; there may be any number behind."""

    @abstractmethod
    def count(self, key: str) -> int:
        """How many rows a generation has now."""

    @abstractmethod
    def write(self, generation: Generation, changes: Changes) -> None:
        """Carry changes of one block out, or of rows behind the last, then keep what is known of the generation from
        now on, in the same transaction where the target has them. To write the same again changes nothing."""

    @abstractmethod
    def keep(self, generation: Generation) -> None:
        """Keep what is known of a generation."""

    @abstractmethod
    def serve(self, generation: Generation, shape: Shape) -> None:
        """Let readers see this generation under the delivery's name, in place of the one that they saw, at once; then
        drop that one, or see to it that the next delivery does. After a kill in between, to do it again ends it."""

    @abstractmethod
    def fetch(self, key: str, rows: Sequence[int] | Rows, shape: Shape) -> pa.RecordBatch:
        """Some rows of one block of a generation as they are kept, as a batch of `shape.schema`; those that are not
        there are left out."""

    @abstractmethod
    def drop(self, key: str) -> None:
        """Throw a generation away that is not served, with what is known of it. It may be gone in part, or wholly."""

    def erase_replaced(self) -> None:  # noqa: B027 - most targets keep nothing for readers of before
        """Throw away at once what readers do not see any more, and what was kept for those who saw it before."""

    def close(self) -> None:  # noqa: B027 - most targets have nothing to let go of
        """Let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

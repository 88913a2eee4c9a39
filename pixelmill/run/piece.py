"""How much of a shard is done before it is stored: what takes long is committed piece by piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pixelmill.plan import Shard
from pixelmill.sources.found import FoundFile
from pixelmill.travel.shard_order import ShardOrder


class TimedFiles:
    """The files of a shard that are done together: all, or those that are asked for within `seconds`, and `least` of
    them even if that takes longer."""

    def __init__(
        self, files: Sequence[FoundFile], seconds: float, *, least: int, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self.taken = 0
        """How many files were asked for."""
        self._files = files
        self._seconds = seconds
        self._least = least
        self._clock = clock

    def files(self) -> Iterator[FoundFile]:
        """One file after the other while there is time. Whoever comes after somebody who took some gets the same."""
        return iter(self._files[: self.taken]) if self.taken else self._in_time()

    @property
    def is_all(self) -> bool:
        """Whether nothing is left for a further piece; nor is it where no file could be begun at all."""
        return self.taken in (0, len(self._files))

    def _in_time(self) -> Iterator[FoundFile]:
        end = self._clock() + self._seconds
        for file in self._files:
            if self.taken >= self._least and self._clock() >= end:
                return
            self.taken += 1
            yield file


@dataclass(frozen=True, slots=True)
class ShardPiece:
    """A shard for some matrices; of one that was begun, the piece by its number, and the message that orders it."""

    shard: Shard
    fingerprints: tuple[str, ...]
    number: int = 0
    images: int = 0
    order: bytes = field(default=b"", compare=False)

    def __str__(self) -> str:
        return f"shard {self.shard.number}" + (f", piece {self.number + 1}" if self.number else "")

    def followed_by(self, rest: ShardOrder) -> ShardPiece:
        """The piece that is left of the shard."""
        return replace(self, number=rest.piece, images=rest.images, order=rest.message())

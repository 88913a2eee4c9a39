"""What the contract suite of targets needs of each engine: its own client, which goes round the code under test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

Failure = Literal["down", "slow", "full", "read-only", "wrong password"]
Spoilt = Literal["missing", "extra", "vector", "column", "again"]
EXTRA = 1_000_000
"""The row that `spoil` adds."""


class Engine(ABC):
    """A real engine with room of its own for one test, under an address for `[[deliveries]] to`."""

    failures: ClassVar[tuple[Failure, ...]] = ("down",)
    """What can be made to go wrong with it."""
    spoils: ClassVar[tuple[Spoilt, ...]] = ("missing", "extra", "vector", "column")
    """What can be spoilt in it: where ids are not unique, rows may be there `again`."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """What lets in, and must never be shown."""
    switches_at_once: ClassVar[bool] = True
    """Whether it has a way to do so. If not, readers may see nothing for a moment, but never half of anything."""
    longest_text: ClassVar[int | None] = None
    """The bytes of a text that it takes at most, if there is a limit."""

    to: str

    @abstractmethod
    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        """What readers see under the name of a delivery, by row: `vector` as a list of floats, the rest by the names of
        columns, None where nothing is known, times as datetime without a zone; None if there is nothing under it."""

    @abstractmethod
    def leftovers(self, name: str) -> list[str]:
        """What lies there beside what readers see and what the target itself needs: tables or collections of other
        generations."""

    @abstractmethod
    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        """Delete a row, add one (EXTRA, otherwise like `row`), change its vector or its path, or add it once more, as
        somebody would who knows nothing of deliveries."""

    @abstractmethod
    def foreign_table(self, name: str, dim: int) -> None:
        """Put under that name what no delivery made: a table or collection with vectors of `dim`, and one row."""

    @abstractmethod
    def foreign_table_is_whole(self, name: str) -> bool:
        """Whether that is there as it was."""

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        """While the block runs, this is wrong with the engine."""
        raise NotImplementedError(how)
        yield

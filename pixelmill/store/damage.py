"""What is wrong with a store, as `verify` tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing wrong with a store: the file, what is wrong, and which rows of which dataset it touches."""

    file: str
    problem: str
    dataset: str = ""
    rows: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of rows."""
    is_sound: bool = False
    """Whether all is whole, but something is left of what was forgotten."""

    def __str__(self) -> str:
        ranges = ", ".join(f"{start} to {stop - 1}" for start, stop in self.rows)
        touched = f"; {self.dataset} rows {ranges}" if self.rows else ""
        return f"{self.file}: {self.problem}{touched}"

"""What a report says of heads: how many rows each filled, and why one could not."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.heads.told import HeadReport

Cells = tuple[str | tuple[str, ...], ...]
COLUMNS = ("head", "kind", "model", "filled", "pending", "anew")


def problems(heads: Sequence[HeadReport]) -> list[str]:
    """What somebody has to look at, a sentence or two each."""
    return [
        f"The head {head.name} could not be filled, and what it had made stays as it is. {head.problem.rstrip('.')}."
        for head in heads if head.problem
    ]  # fmt: skip


def rows(heads: Sequence[HeadReport]) -> list[Cells]:
    """A line for each head that was filled, or has rows that wait, of COLUMNS."""
    return [
        ((head.name,), head.kind, (head.model,), _count(head.rows), _count(head.pending), "yes" if head.is_anew else "")
        for head in heads if head.rows or head.pending
    ]  # fmt: skip


def note(heads: Sequence[HeadReport]) -> str:
    """What there is to tell of what they learnt from."""
    return " ".join(f"{head.name}: {note}" for head in heads for note in head.notes)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""

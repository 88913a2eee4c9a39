"""The pictures that models are compared on: with a file, a label, and a vector of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import QueryError
from pixelmill.evaluation.folds import sample
from pixelmill.evaluation.labels import Labels
from pixelmill.evaluation.told import Pictures
from pixelmill.store.reader import Store

_NAMED: Final = 20
"""Classes of one picture that are told by name."""


@dataclass(frozen=True)
class Chosen:
    """`rows` of the store (N,), ascending; their `labels` (N,), numbers of `classes`, each of which occurs."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    told: Pictures

    @property
    def has_another(self) -> NDArray[np.bool_]:
        """(N,): whether there is another picture of the same label."""
        several: NDArray[np.bool_] = np.bincount(self.labels)[self.labels] > 1
        return several


def choose(
    store: Store, labels: Labels, models: Sequence[str], *, most: int, allowed: NDArray[np.bool_] | None = None
) -> Chosen:
    """At most `most` pictures, the same for the same store. Raises QueryError where labels tell nothing apart."""
    left = np.ones(len(store), bool) if allowed is None else allowed.copy()
    counts = [len(store) - int(left.sum()), _drop(left, ~store.present), _drop(left, labels.of_rows < 0)]
    lacking = {model: _drop(left, ~store[model].embedded) for model in models}
    usable = np.flatnonzero(left)
    if not len(usable):
        raise QueryError(f"Expected pictures with a label in {labels.name!r}. Found none: {_why(counts, lacking)}.")
    rows = usable[sample(np.unique(labels.of_rows[usable], return_inverse=True)[1], most)]
    present, own = np.unique(labels.of_rows[rows], return_inverse=True)
    classes = tuple(labels.classes[i] for i in present)
    _require_classes(labels.name, classes, own)
    alone = [classes[i] for i in np.flatnonzero(np.bincount(own) == 1)]
    told = Pictures(
        rows=len(store), not_asked=counts[0], without_file=counts[1], without_label=counts[2], without_vector=lacking,
        usable=len(usable), compared=len(rows), classes=len(classes), single_classes=len(alone),
        singles=tuple(alone[:_NAMED]),
    )  # fmt: skip
    return Chosen(rows, own.astype(np.int64), classes, told)


def _drop(left: NDArray[np.bool_], gone: NDArray[np.bool_]) -> int:
    """Take out what is gone; how many of those left that were."""
    dropped = int(np.count_nonzero(left & gone))
    left &= ~gone
    return dropped


def _why(counts: Sequence[int], lacking: dict[str, int]) -> str:
    words = ("do not fulfil the condition", "have no file any more", "have no label")
    told = [f"{count:,} rows {what}" for count, what in zip(counts, words, strict=True) if count]
    return ", ".join([*told, *(f"{n:,} rows have no vector of {m}" for m, n in lacking.items() if n)]) or "no row"


def _require_classes(name: str, classes: Sequence[str], labels: NDArray[np.int64]) -> None:
    if len(classes) == 1:
        raise QueryError(
            f"Expected two labels or more in {name!r}, to be told apart. All {len(labels):,} pictures have the label "
            f"{classes[0]!r}: name another column, or 'folder'."
        )
    if np.bincount(labels).max() == 1:
        raise QueryError(
            f"Expected labels in {name!r} that several pictures share. Each of {len(labels):,} pictures has one of its "
            "own: name another column, or 'folder'."
        )

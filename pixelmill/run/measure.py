"""What a worker is measured by: a few images of a matrix, with the vectors that are stored of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from pixelmill.sources.found import FoundFile
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import MatrixView, Store

SAMPLE: Final = 16
NIGHTLY: Final = 8
"""Images of each matrix that are embedded again before anything is added to it: a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Images of a matrix with their sha256 (K, 32) and stored vectors float32 (K, dim): the first ones, then the last,
    then some that are spread over all. `is_new`: the matrix holds nothing yet."""

    files: tuple[FoundFile, ...] = ()
    contents: np.ndarray = field(default_factory=partial(np.empty, (0, 32), np.uint8))
    vectors: np.ndarray = field(default_factory=partial(np.empty, (0, 0), np.float32))
    is_new: bool = False

    def parts(self) -> Sequence[slice]:
        """The parts that are looked at one after the other, until images of one can be read."""
        return [slice(0, NIGHTLY), slice(NIGHTLY, 2 * NIGHTLY), slice(2 * NIGHTLY, None)]

    def header(self) -> dict[str, Any]:
        """What of it travels as JSON; `arrays` is the rest."""
        return {"files": self.files, "is_new": self.is_new}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"contents": self.contents, "vectors": self.vectors}

    @classmethod
    def of(cls, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Measure:
        files = tuple(FoundFile(*file) for file in header["files"])
        return cls(files, arrays["contents"], arrays["vectors"], bool(header["is_new"]))


def measure_of(store: Store, matrix: Matrix) -> Measure:
    """What of a matrix a worker is measured by, the same images every night, as long as they are there.

    Where none of the first can be read (on a disk that only other machines see), the others are looked at.
    """
    current = store.manifest.matrix(matrix.provenance.fingerprint)
    if current is None or not current.extents:
        return Measure(is_new=True)
    view = MatrixView(store, current)
    rows = np.flatnonzero(view.embedded & store.present)
    first, last = rows[:NIGHTLY], rows[NIGHTLY:][-NIGHTLY:]
    chosen = np.concatenate([first, last, spread(rows[NIGHTLY:-NIGHTLY])])
    return measured(view, chosen)


def measured(view: MatrixView, rows: np.ndarray) -> Measure:
    """What `rows` of a matrix are measured by."""
    files = tuple(FoundFile(*view.store.place(row), 0, 0, 0) for row in rows.tolist())
    contents = [view.store.sha256(row, row + 1).reshape(1, 32) for row in rows.tolist()]
    vectors = np.asarray(view.take(rows.tolist()), dtype=np.float32)
    return Measure(files, np.concatenate([np.empty((0, 32), np.uint8), *contents]), vectors)


def spread(rows: np.ndarray) -> np.ndarray:
    """At most 16 of `rows`, spread over them."""
    return rows if len(rows) <= SAMPLE else rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(int)]

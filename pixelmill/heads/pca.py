"""A head that makes a matrix: the vectors of another one projected to their principal components."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.errors import PixelmillError, WeightsRefused
from pixelmill.heads.head import PcaHead
from pixelmill.heads.told import HeadReport
from pixelmill.search.principal import Principal, principal
from pixelmill.search.projection import BACKEND, Projection, read_projection, write_projection
from pixelmill.store import matrix_writer
from pixelmill.store.commit import StoreWriter
from pixelmill.store.generations import of_model
from pixelmill.store.manifest import Matrix, Provenance
from pixelmill.store.reader import BLOCK, MatrixView, Store
from pixelmill.store.weighting import unit
from pixelmill.watch.calls import begin

VERSION: Final = "1"
"""Changes whenever a vector may come out otherwise than before."""
GROWTH: Final = 4
"""Axes are learnt anew once there are so many times the pictures that they were learnt from."""

Stop = Callable[[], bool]


class NotProjectable(PixelmillError, ValueError):
    """Vectors that have no such principal components."""


class _Stopped(Exception):
    """Somebody said stop."""


def fill_pca(writer: StoreWriter, told: HeadReport, head: PcaHead, stop: Stop) -> HeadReport:
    """Project the rows that the matrix of a head lacks; where its axes are of another head, of other vectors or of far
    fewer pictures, learn new ones and begin a generation that takes over when it is whole. Raises PixelmillError."""
    store = writer.snapshot()
    view = store[head.model]
    before = of_model(store.manifest, told.name)
    rows = np.flatnonzero(view.embedded & store.present)
    found = _continued(store, before, head, view, len(rows))
    notes: tuple[str, ...] = ()
    if found is None:
        learnt = _learnt(view, rows, head, stop)
        if learnt is None:
            return told.model_copy(update={"pending": len(rows)})
        found = _begun(writer, told.name, head, view, learnt)
        kept = learnt.share(head.components)
        notes = (f"Learnt from {learnt.rows:,} pictures; {kept:.1%} of their variance is kept.",)
    matrix, projection = found
    lacking = np.flatnonzero(view.embedded & ~store.embedded(matrix))
    left = _filled(writer, matrix, projection, view, lacking, stop)
    writer.serve([matrix.fingerprint])
    is_anew = bool(before) and all(other.fingerprint != matrix.fingerprint for other in before)
    return told.model_copy(update={"rows": len(lacking) - left, "pending": left, "is_anew": is_anew, "notes": notes})


def _continued(
    store: Store, before: list[Matrix], head: PcaHead, view: MatrixView, pictures: int
) -> tuple[Matrix, Projection] | None:
    """The last generation, if it is what the head makes of these vectors, and its axes are there."""
    if not before:
        return None
    matrix = before[-1]
    try:
        projection = read_projection(store.folder, matrix.provenance)
    except WeightsRefused:
        return None
    is_same = matrix.fingerprint == _fingerprint(head, view.provenance, matrix.provenance.weights_sha256)
    return (matrix, projection) if is_same and pictures < GROWTH * projection.pictures else None


def _fingerprint(head: PcaHead, parent: Provenance, digest: str) -> str:
    told = json.dumps([VERSION, parent.fingerprint, head.kind, head.components, head.whiten, digest])
    return hashlib.sha256(told.encode()).hexdigest()


def _begun(
    writer: StoreWriter, name: str, head: PcaHead, view: MatrixView, learnt: Principal
) -> tuple[Matrix, Projection]:
    """A new generation, empty; its projection is kept before."""
    parent = view.provenance
    axes = learnt.axes[: head.components]
    if head.whiten:
        spread = np.sqrt(np.maximum(learnt.variances[: head.components], np.finfo(np.float64).eps))
        axes = axes / spread[:, None]
    mean = learnt.mean.astype(np.float32)
    projection = Projection(mean, np.ascontiguousarray(axes, np.float32), parent, learnt.rows)
    made = parent.model_copy(
        update={
            "model": name, "backend": BACKEND, "architecture": f"{parent.backend} {parent.architecture}",
            "pretrained": f"{parent.model} {parent.fingerprint[:16]}", "weights_sha256": projection.digest,
            "dim": head.components, "generation": 1, "fingerprint": _fingerprint(head, parent, projection.digest),
        }
    )  # fmt: skip
    write_projection(writer.folder, made, projection)
    return writer.matrix(made, view.matrix.dtype), projection


def _filled(
    writer: StoreWriter, matrix: Matrix, projection: Projection, view: MatrixView, rows: NDArray[np.int64], stop: Stop
) -> int:
    """How many of the rows are left, since somebody said stop."""
    step = 16 * BLOCK
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        vectors = np.empty((len(some), matrix.provenance.dim), np.float32)
        for first, block in _blocks(view, some):
            if stop():
                return len(rows) - start
            vectors[first : first + len(block)] = projection(block)
        matrix_writer.fill(writer, matrix, some, vectors)
    return 0


def _learnt(view: MatrixView, rows: NDArray[np.int64], head: PcaHead, stop: Stop) -> Principal | None:
    """The principal components of the unit vectors of `rows`, in float64; None where somebody said stop."""
    dim = view.shape[1]
    if head.components > min(dim, len(rows) - 1):
        raise NotProjectable(
            f"Expected at most {min(dim, max(len(rows) - 1, 0))} components: {head.model} has {dim} dims, and "
            f"{len(rows):,} pictures with a vector. Got {head.components}."
        )
    shift = unit(view.take(rows[:BLOCK])).mean(axis=0, dtype=np.float64)  # keeps the digits of what differs
    try:
        found = principal(_shifted(view, rows, shift, stop), dim)
    except _Stopped:
        return None
    return replace(found, mean=found.mean + shift)


def _shifted(
    view: MatrixView, rows: NDArray[np.int64], shift: NDArray[np.float64], stop: Stop
) -> Iterator[NDArray[np.float64]]:
    for _, block in _blocks(view, rows):
        if stop():
            raise _Stopped
        yield unit(block) - shift


def _blocks(view: MatrixView, rows: NDArray[np.int64]) -> Iterator[tuple[int, np.ndarray]]:
    """The vectors of `rows` as they are stored, in blocks, each with where it begins."""
    for start in range(0, len(rows), BLOCK):
        begin("head", f"row {rows[start]}")
        yield start, view.take(rows[start : start + BLOCK])

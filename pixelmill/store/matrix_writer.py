"""Vectors of rows that are stored, put into a matrix that was begun; and matrices dropped."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pixelmill.store import filling
from pixelmill.store.additions import matrix_datasets
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Manifest, Matrix
from pixelmill.store.master import publish
from pixelmill.store.rows import Vectors


def fill(writer: StoreWriter, matrix: Matrix, rows: np.ndarray, vectors: np.ndarray) -> None:
    """Publish the vectors (len(rows), dim) of ascending `rows` in a matrix that was begun. Raises Overtaken, with
    nothing published, if it is there no more, or what was written is gone; StoreError for numbers that do not fit."""
    datasets = matrix_datasets(matrix, Vectors(np.arange(len(rows)), vectors), len(rows))
    filling.fill(
        writer, matrix, rows, datasets,
        overtaken=f"Expected the matrix of {matrix.provenance.model} as it was begun. Another process has dropped it. "
        "Run again.",
    )  # fmt: skip


def drop(writer: StoreWriter, fingerprints: Collection[str]) -> None:
    """Forget the matrices named; their rows stay."""

    def without(manifest: Manifest) -> None:
        left = tuple(matrix for matrix in manifest.matrices if matrix.fingerprint not in fingerprints)
        if len(left) < len(manifest.matrices):
            publish(writer.folder, manifest.model_copy(update={"matrices": left}))

    writer.in_turn(without)

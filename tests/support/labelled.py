"""Stores whose vectors say, or do not say, which label a picture has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pixelmill.store.commit import StoreWriter
from pixelmill.store.rows import Vectors
from tests.support.columns import add_columns
from tests.support.stores import file_of, provenance, record_files, shard_rows


def clouds(labels: np.ndarray, dim: int, noise: float, seed: int = 0) -> np.ndarray:
    """float32 (N, dim) of unit length: a direction for each label, and so much noise around it."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((labels.max() + 1, dim))
    vectors = centres[labels] + noise * rng.standard_normal((len(labels), dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def labelled_store(
    folder: Path, vectors: Mapping[str, np.ndarray], columns: Mapping[str, Sequence[object]], *, seen: int | None = None
) -> Path:
    """A new store of pictures with these vectors by model, and these columns; only the first `seen` have files."""
    rows = len(next(iter(vectors.values())))
    with StoreWriter(folder) as writer:
        record_files(writer, range(rows))
        shard = shard_rows(range(rows), [])
        for model, values in vectors.items():
            made = provenance(model, dim=values.shape[1])
            writer.matrix(made, "float32")
            there = np.flatnonzero(np.isfinite(values).all(axis=1))
            shard.vectors[made.fingerprint] = Vectors(there, values[there])
        writer.commit(shard)
        if seen is not None:
            for number in range(seen, rows):
                writer.ledger.scans.mark_path_gone(file_of(number).absolute)
            writer.update_locations(range(rows))
    add_columns(folder, columns)
    return folder

"""A store of vectors around sixty centres, as pictures of sixty kinds have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelmill.store.commit import StoreWriter
from pixelmill.store.rows import Content, ShardRows, Vectors
from tests.support.stores import file_of, provenance, sha256

ROWS, DIM = 6000, 24
CENTRES = np.random.default_rng(0).standard_normal((60, DIM))


def add(store: Path, start: int, stop: int) -> None:
    """Rows around 60 centres, as pictures of 60 kinds are."""
    random = np.random.default_rng(start)
    values = CENTRES[random.integers(0, 60, stop - start)] + 0.4 * random.standard_normal((stop - start, DIM))
    with StoreWriter(store) as writer:
        matrix = writer.matrix(provenance("a", dim=DIM), "float16")
        contents = [Content(file_of(n), sha256(n), 8, 8) for n in range(start, stop)]
        made = {matrix.provenance.fingerprint: Vectors(np.arange(stop - start), values.astype(np.float32))}
        writer.commit(ShardRows(contents, made))

"""The default model's vectors mean something: pictures of a kind lie together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelmill import catalog
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.discover import discover
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline, Target

IMAGES = Path(__file__).parent.parent / "examples" / "images"


def test_the_nearest_neighbour_of_a_sample_is_of_its_kind() -> None:
    """By cosine, at least three of four sample pictures have a picture of their own kind nearest (chance: 13%)."""
    model = load(catalog.get("efficientnet_lite0"), WeightsCache(Path("cache")))
    files = list(discover([str(IMAGES)]))
    pipeline = Pipeline([Target(model, "lite0")], DecodeOptions(), batch_size=8, threads=2)
    harvest = pipeline.run(files, lambda _sha256: frozenset({"lite0"})).harvest
    kinds = np.array([content.file.path.split("/")[0] for content in harvest.contents])
    vectors = harvest.vectors["lite0"].values
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1)
    share = (kinds[similar.argmax(axis=1)] == kinds).mean()
    assert len(kinds) == 24
    assert share >= 0.75, share

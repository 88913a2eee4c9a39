"""The default model's vectors mean something: pictures of a kind lie together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelmill import catalog
from pixelmill.embedding.targets import Target
from pixelmill.images.decode import DecodeOptions
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline
from pixelmill.sources.discover import discover

IMAGES = Path(__file__).parent.parent / "examples" / "images"
STAMPS = Path(os.environ.get("STAMPS", "/usr/share/tuxpaint/stamps"))
"""Of the Debian package tuxpaint-stamps-default: 796 cut-out pictures of things, in folders by kind."""


def shares(folder: Path, kind_of: Callable[[str], str], least: int) -> tuple[int, float, float]:
    """Of the pictures of kinds that have `least`: how many, the share of those whose nearest neighbour by cosine is of
    their own kind, and that share were the nearest drawn by lot. The kind '' is left out."""
    model = load(catalog.get("efficientnet_lite0"), WeightsCache(Path("cache")))
    pipeline = Pipeline([Target(model, "lite0")], DecodeOptions(), batch_size=8, threads=2)
    rows = pipeline.run(discover([str(folder)]), lambda _sha256: frozenset({"lite0"})).rows
    made = rows.vectors["lite0"]
    kinds = np.array([kind_of(rows.contents[i].file.path) for i in made.index])
    count = Counter(kinds.tolist())
    kept = np.array([kind != "" and count[kind] >= least for kind in kinds.tolist()])
    vectors, kinds = made.values[kept], kinds[kept]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1)
    lot = np.mean([(count[kind] - 1) / (len(kinds) - 1) for kind in kinds.tolist()])
    return len(kinds), float((kinds[similar.argmax(axis=1)] == kinds).mean()), float(lot)


def test_the_nearest_neighbour_of_a_sample_is_of_its_kind() -> None:
    """At least three of four sample pictures have a picture of their own kind nearest (by lot: 13%)."""
    pictures, share, lot = shares(IMAGES, lambda path: path.split("/")[0], 2)
    assert pictures == 32
    assert lot < 0.2
    assert share >= 0.75, share


@pytest.mark.slow
@pytest.mark.skipif(
    not STAMPS.is_dir(), reason=f"tuxpaint-stamps-default is not installed ({STAMPS}; STAMPS names it)."
)
def test_the_nearest_neighbour_of_a_stamp_is_of_its_kind() -> None:
    """Real pictures, in 31 kinds such as animals/birds or food/fruit: two of three have their own kind nearest."""
    pictures, share, lot = shares(STAMPS, stamp_kind, 5)
    assert pictures > 400
    assert lot < 0.1
    assert share == pytest.approx(0.67, abs=0.03)


def stamp_kind(path: str) -> str:
    """The first two folders; symbols (letters, digits, flags) are no things."""
    folders = path.split("/")[:-1]
    return "" if folders[0] == "symbols" else "/".join(folders[:2])

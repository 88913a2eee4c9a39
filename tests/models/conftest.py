"""Tiny models of every backend, built once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image

from tests.support.checkpoints import TinyModels, make_tiny_models
from tests.support.server import WeightsServer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("upstream"))


@pytest.fixture
def server(tiny: TinyModels) -> Iterator[WeightsServer]:
    with WeightsServer(tiny.folder).running() as running:
        yield running


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Three pictures of different shapes, with gradients, so that resizing and cropping matter."""
    import numpy as np

    random = np.random.default_rng(3)
    made = []
    for width, height in ((97, 61), (300, 200), (180, 420)):
        coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        made.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return made

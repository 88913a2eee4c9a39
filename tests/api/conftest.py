"""A folder of pictures, and a model whose vectors can be reckoned."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmill.models.base import ModelSpec
from tests.conftest import SavePicture
from tests.support.models import spec_of

IMAGES = 6


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / f"{'ab'[seed % 2]}/{seed}.png", seed, (32 + 8 * seed, 24))
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path: Path) -> ModelSpec:
    (tmp_path / "weights").write_bytes(b"weights")
    return spec_of("one", tmp_path)

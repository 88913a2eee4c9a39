"""A store of painted pictures by three tiny models, and a searcher over it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pixelmill.models.base import ModelSpec
from pixelmill.search.searcher import Searcher
from tests.support.checkpoints import TinyModels, make_tiny_models
from tests.support.searchable import CACHE, make_store, paint

COLOURS = {
    "red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 220), "yellow": (230, 220, 30), "grey": (90, 90, 90),
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return make_tiny_models(tmp_path_factory.mktemp("upstream"))


@pytest.fixture(scope="session")
def made(tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, `store` and the weights; not to be written to."""
    folder = tmp_path_factory.mktemp("searchable")
    for at, (name, colour) in enumerate(COLOURS.items()):
        paint(folder / f"photos/{'warm' if name in ('red', 'yellow') else 'cold'}/{name}.png", colour, stripe=9 * at)
    large = paint(folder / "photos/large/red.png", COLOURS["red"], size=(480, 320), stripe=200)
    Image.open(large).save(folder / "photos/large/again.jpg", quality=97, subsampling=0)
    make_store(folder / "store", folder / "photos", tiny, [tiny.openai_clip, tiny.open_clip, tiny.torchvision])
    return folder


@pytest.fixture
def place(made: Path, tiny: TinyModels, tmp_path: Path) -> Path:
    """A folder of one's own, with the same pictures and a store of one model."""
    folder = tmp_path / "own"
    for name in ("photos", CACHE):
        shutil.copytree(made / name, folder / name)
    make_store(folder / "store", folder / "photos", tiny, [tiny.openai_clip])
    return folder


@pytest.fixture
def searcher(made: Path, tiny: TinyModels) -> Searcher:
    return searcher_of(made, tiny)


def searcher_of(folder: Path, tiny: TinyModels) -> Searcher:
    specs: dict[str, ModelSpec] = {spec.name: spec for spec in tiny.specs}
    return Searcher(folder / "store", find=specs.__getitem__, cache=tiny.cache(folder / CACHE))

"""A store that words can search: tiny models with real architectures over rendered pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from pixelmill.models.base import ModelSpec
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from tests.support.checkpoints import TinyModels

CACHE = "weights"


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (96, 64), stripe: int = 0) -> Path:
    """A picture of one colour with a white stripe at a height in pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, colour)
    picture.paste((255, 255, 255), (0, stripe, size[0], stripe + 8))
    picture.save(path)
    return path


def make_store(store: Path, photos: Path, models: TinyModels, specs: Sequence[ModelSpec]) -> Path:
    """A run of the models over a folder, without Prefect."""
    cache = CacheSpec(cache_dir=store.parent / CACHE, mirrors={"*": os.fspath(models.folder)})
    job = Job(
        sources=(os.fspath(photos),), store=store, specs=tuple(specs), cache=cache, precision="float32",
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    run(job)
    return store


def prepared(folder: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> Path:
    import pixelmill.catalog

    specs = {spec.name: spec for spec in tiny.specs}
    real = pixelmill.catalog.get
    monkeypatch.setattr("settings.job.catalog.get", lambda name: specs.get(name) or real(name))
    Path("pixelmill.toml").write_text(
        f'[weights]\ncache_dir = "{folder / CACHE}"\noffline = true\nmirrors = {{"*" = "{tiny.folder}"}}\n'
    )
    return folder

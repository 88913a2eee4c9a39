"""Words find what they mean: the demo's pictures by their captions, by the small CLIP that is committed beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelmill import catalog
from pixelmill.errors import UnknownModel
from pixelmill.models.base import ModelSpec
from pixelmill.models.own import own_spec
from pixelmill.models.weights import WeightsCache
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.search.query import Text
from pixelmill.search.searcher import Searcher
from settings import load_settings
from settings.job import find_model
from tests.support.examples import EXAMPLES, ROOT, captions

MODEL, FOLDER = "demo_clip", EXAMPLES / "demo_clip"
AMONG = 3


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """Over the store that the demo's command makes, found by the demo's settings."""
    store, config = tmp_path_factory.mktemp("demo") / "store", EXAMPLES / "demo.toml"
    command = ["run", "examples/images", "--models", MODEL, "--store", str(store), "--config", str(config)]
    cache = store.parent / "weights"
    subprocess.run(
        [sys.executable, "-m", "pixelmill", *command], cwd=ROOT, check=True, capture_output=True, timeout=240,
        env={**os.environ, "PIXELMILL_WEIGHTS__CACHE_DIR": str(cache)},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # the paths in the settings are seen from there
        spec = find_model(load_settings(config), MODEL)
    return Searcher(store, find={MODEL: spec}.__getitem__, cache=WeightsCache(cache))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """As `searcher`, by a model whose words have changed places; its pictures are embedded alike."""
    folder = tmp_path_factory.mktemp("control")
    spec = shuffled(folder)
    run(
        Job(
            sources=(str(EXAMPLES / "images"),), store=folder / "store", specs=(spec,), precision="float32",
            cache=CacheSpec(cache_dir=folder / "weights"), max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
        )
    )  # fmt: skip
    return Searcher(folder / "store", find={MODEL: spec}.__getitem__, cache=WeightsCache(folder / "weights"))


def shuffled(folder: Path) -> ModelSpec:
    """The demo's model, in which each word means another."""
    from safetensors.torch import load_file, save_file

    state = load_file(FOLDER / "open_clip_model.safetensors")
    words = state["token_embedding.weight"]
    known = words.abs().sum(1).nonzero()[:, 0]
    words[known] = words[known[torch.randperm(len(known), generator=torch.Generator().manual_seed(1))]]
    save_file(state, folder / "shuffled.safetensors")
    return own_spec(
        MODEL, backend="open_clip", architecture=str(FOLDER / "open_clip_config.json"),
        checkpoint=str(folder / "shuffled.safetensors"),
    )  # fmt: skip


def found(searcher: Searcher, words: str) -> list[str]:
    return [hit.path for hit in searcher.search([Text(words)], AMONG).hits]


@pytest.mark.parametrize(("path", "caption"), captions().items())
def test_a_caption_finds_its_picture(searcher: Searcher, path: str, caption: str) -> None:
    """Each picture of the demo is among the first three of 32 for its caption; no picture was trained on."""
    assert path in found(searcher, caption)


def test_a_control_does_not(control: Searcher) -> None:
    """When words have changed places, few captions find their picture: the search does not know it from elsewhere."""
    hits = [path in found(control, caption) for path, caption in captions().items()]
    assert np.mean(hits) <= 0.4


def test_words_can_be_taken_away(searcher: Searcher) -> None:
    """Of the circles, those that have red in them come later when red is taken away."""
    plus, minus = (searcher.search([Text("a circle"), *more], 32).hits for more in ((), (Text("red", -1),)))
    places = [[at for at, hit in enumerate(hits) if "red circle" in captions()[hit.path]] for hits in (plus, minus)]
    assert all(before < after for before, after in zip(*map(sorted, places), strict=True))


def test_a_model_that_the_settings_do_not_have_is_asked_for(searcher: Searcher) -> None:
    """Whoever forgets the settings file is told that the model may be in it."""
    lost = Searcher(searcher.store.folder, find=catalog.get, cache=WeightsCache(searcher.store.folder / "weights"))
    with pytest.raises(UnknownModel, match=r"demo_clip \(open_clip .*--config"):
        lost.search([Text("a boat")])


def test_open_clip_loads_the_folder_itself(searcher: Searcher) -> None:
    """The model's folder is what open_clip calls `local-dir:`, and a picture's vector is that of open_clip's own call."""
    import open_clip
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    with torch.inference_mode():
        picture = preprocess(Image.open(EXAMPLES / "images/tiles/hall.webp").convert("RGB"))
        vector = model.eval().encode_image(picture[None])[0].numpy()
    stored = searcher.store[MODEL].read()[searcher.store.paths.tolist().index(b"tiles/hall.webp")]
    assert vector @ stored / np.linalg.norm(vector) / np.linalg.norm(stored) > 0.999

"""What the demo shows: painted pictures that are what their captions say, and a model that was trained on others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.examples import EXAMPLES, ROOT, captions, example


def test_the_samples_are_what_the_script_paints() -> None:
    """Every picture in examples/images has a caption, and it is what the script says of it when it paints it again."""
    make_images = example("make_images")
    again = {name: make_images.paint(name, *how).caption for name, *how in make_images.samples()}
    there = {path.relative_to(EXAMPLES / "images").as_posix() for path in (EXAMPLES / "images").rglob("*.*")}
    assert captions() == again
    assert there == {*again}


def test_the_samples_pixels_come_out_the_same(tmp_path: Path) -> None:
    """A picture that is stored without loss is painted again to the last pixel."""
    from PIL import Image

    make_images = example("make_images")
    samples = {name: how for name, *how in make_images.samples()}
    for name in ("still-life/scan-16bit.png", "shapes/blue-star.png", "flowers/sticker.png"):
        make_images.save(make_images.paint(name, *samples[name]).picture, tmp_path / name)
        again, committed = (np.asarray(Image.open(folder / name)) for folder in (tmp_path, EXAMPLES / "images"))
        assert np.array_equal(again, committed), name


def test_no_sample_was_trained_on() -> None:
    """The seeds of the samples, of the training and of the figures are apart."""
    train, samples = example("train_demo_clip"), example("make_images").samples()
    assert max(seed for *_, seed in samples) < train.TRAINED_ON
    assert train.TRAINED_ON + train.PICTURES <= train.HELD_OUT


def test_the_model_card_states_the_figures() -> None:
    """What was measured after training, with the committed seed, steps and pictures, is what the model card says."""
    train = example("train_demo_clip")
    figures = json.loads((train.FOLDER / "figures.json").read_text("utf-8"))
    card = (train.FOLDER / "README.md").read_text("utf-8")
    assert (figures["seed"], figures["steps"], figures["pictures"]) == (train.SEED, train.STEPS, train.PICTURES)
    for measured in (figures["painted"], figures["photographs"]):
        row = " | ".join(f"{measured[key]:.1%}" for key in ("recall@1", "recall@3", "recall@10", "chance@3"))
        assert row in card


@pytest.mark.slow
def test_training_learns_and_comes_out_the_same() -> None:
    """In a few steps the loss falls; the same seed gives the same weights, to 1e-4, on one machine."""
    train = example("train_demo_clip")
    (one, losses), (other, _) = (train.train(steps=30, pictures=140, told=lambda line: None) for _ in range(2))
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    for (name, tensor), (_, again) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert np.allclose(tensor.numpy(), again.numpy(), atol=1e-4), name


def test_the_demo_ends_with_words() -> None:
    """`make demo` searches by words, with the demo's settings."""
    recipe = (ROOT / "Makefile").read_text().partition("\ndemo:")[2].partition("\n\n")[0]
    searches = [line for line in recipe.splitlines() if "pixelmill search demo-store" in line]
    assert searches
    assert all("--config examples/demo.toml" in line for line in searches)

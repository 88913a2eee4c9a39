"""`hf-hub:` repositories: pinned, fetched through the cache, and what the upstream library makes of the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pixelmill.errors import UnknownModel, WeightsError
from pixelmill.models.base import ModelSpec
from pixelmill.models.hub import hub_spec
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from settings import load_settings
from settings.job import find_model
from tests.support.checkpoints import TINY_OPEN_CLIP, path_under, shaken
from tests.support.server import WeightsServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PICTURE = Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 50).convert("RGB")


def folder_of(upstream: Path, repository: str) -> Path:
    return path_under(upstream, f"https://huggingface.co/{repository}/resolve/{COMMIT}/x").parent


@pytest.fixture(autouse=True)
def seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def resolved(upstream: Path, name: str, tmp_path: Path) -> tuple[ModelSpec, WeightsCache]:
    with WeightsServer(upstream).running() as server:
        cache = WeightsCache(tmp_path / "cache", mirrors={"*": server.url})
        spec = hub_spec(name, cache)
        cache.fetch_model(spec)
    return spec, WeightsCache(tmp_path / "cache", offline=True)


def test_a_repository_of_open_clips(tmp_path: Path) -> None:
    """An OpenCLIP repository gives what open_clip makes of the same folder: preprocessing, pixels, embeddings."""
    import open_clip
    from safetensors.torch import save_file

    folder = folder_of(tmp_path / "upstream", "acme/clip")
    pre = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_OPEN_CLIP, "preprocess_cfg": pre}))
    save_file(shaken(open_clip.CLIP(**TINY_OPEN_CLIP)).state_dict(), folder / "open_clip_model.safetensors")
    upstream, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    upstream.eval()
    spec, cache = resolved(tmp_path / "upstream", f"hf-hub:acme/clip@{COMMIT}", tmp_path)
    assert (spec.dim, spec.image_size, spec.pretrained) == (48, 64, COMMIT)
    model = load(spec, cache)
    pixels = model.reference_preprocess(PICTURE)[None]
    assert torch.equal(pixels[0], preprocess(PICTURE))
    with torch.inference_mode():
        assert torch.allclose(model.encode_image(pixels), upstream.encode_image(pixels), rtol=1e-3, atol=1e-4)


def test_a_repository_of_timms(tmp_path: Path) -> None:
    """A timm repository gives what timm makes of the same files, with the preprocessing of its config."""
    import timm
    from safetensors.torch import save_file
    from timm.data import create_transform, resolve_model_data_config

    folder = folder_of(tmp_path / "upstream", "acme/net")
    cfg = {
        "tag": "mine", "input_size": [3, 96, 96], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "crop_pct": 0.9,
        "interpolation": "bilinear", "crop_mode": "center", "num_classes": 7, "first_conv": "conv1", "classifier": "fc",
    }  # fmt: skip
    (folder / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "num_classes": 7, "pretrained_cfg": cfg})
    )
    trained = shaken(timm.create_model("resnet18", num_classes=7)).eval()
    save_file(trained.state_dict(), folder / "model.safetensors")
    spec, cache = resolved(tmp_path / "upstream", f"hf-hub:acme/net@{COMMIT}", tmp_path)
    assert (spec.dim, spec.image_size) == (512, 96)
    model = load(spec, cache)
    upstream = timm.create_model("resnet18", pretrained_cfg=cfg, num_classes=0)
    preprocess = create_transform(**resolve_model_data_config(upstream), is_training=False)
    pixels = model.reference_preprocess(PICTURE)[None]
    assert torch.equal(pixels[0], preprocess(PICTURE))
    with torch.inference_mode():
        expected = trained.forward_head(trained.forward_features(pixels), pre_logits=True)
        assert torch.allclose(model.encode_image(pixels), expected, rtol=1e-3, atol=1e-4)


def test_its_weights_of_the_hub_are_found_by_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`find_model` resolves such a name through the settings' mirrors, offline as well once it was fetched."""
    folder = folder_of(tmp_path / "upstream", "acme/clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_OPEN_CLIP}))
    monkeypatch.setenv("PIXELMILL_WEIGHTS__MIRRORS", str(tmp_path / "upstream"))
    name = f"hf-hub:acme/clip@{COMMIT}"
    assert find_model(load_settings(), name).dim == 48
    monkeypatch.delenv("PIXELMILL_WEIGHTS__MIRRORS")
    monkeypatch.setenv("PIXELMILL_WEIGHTS__OFFLINE", "true")
    assert find_model(load_settings(), name).dim == 48


@pytest.mark.parametrize(
    "name", ["hf-hub:acme/clip", "hf-hub:acme/clip@main", "hf-hub:acme/clip@0123abc", f"hf-hub:../x@{COMMIT}"]
)
def test_what_is_not_pinned_is_refused(name: str, tmp_path: Path) -> None:
    """A branch moves: the message asks for the whole commit."""
    with pytest.raises(UnknownModel, match="all 40 digits"):
        hub_spec(name, WeightsCache(tmp_path / "cache", mirrors={"*": str(tmp_path)}))


def test_a_repository_of_another_library_is_named(tmp_path: Path) -> None:
    """One that is neither OpenCLIP's nor timm's says what was found and the way that there is."""
    folder = folder_of(tmp_path / "upstream", "acme/bert")
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"Expected JSON in .*config\.json"):
        hub_spec(
            f"hf-hub:acme/bert@{COMMIT}", WeightsCache(tmp_path / "first", mirrors={"*": str(tmp_path / "upstream")})
        )
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match=r"Found config\.json.*\[models\.NAME\]"):
        hub_spec(
            f"hf-hub:acme/bert@{COMMIT}", WeightsCache(tmp_path / "cache", mirrors={"*": str(tmp_path / "upstream")})
        )

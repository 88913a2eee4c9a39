"""A person's own checkpoints, as the settings name them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pixelmill.errors import SettingsError, WeightsRefused
from pixelmill.models.load import load
from pixelmill.models.own import own_spec
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TinyModels, shaken


@pytest.mark.parametrize(("backend", "architecture"), [("torchvision", "resnet18"), ("timm", "resnet18")])
def test_a_fine_tuned_classifier_loads(backend: str, architecture: str, tmp_path: Path) -> None:
    """A model fine-tuned to seven classes gives the features that its own classifier sees."""
    import timm
    import torchvision

    make = timm.create_model if backend == "timm" else torchvision.models.get_model
    module = shaken(make(architecture, num_classes=7)).eval()
    path = tmp_path / "my own 100%.pth"
    torch.save(module.state_dict(), path)
    spec = own_spec("mine", backend=backend, architecture=architecture, checkpoint=str(path))  # type: ignore[arg-type]
    model = load(spec, WeightsCache(tmp_path / "cache"))
    pixels = torch.randn(2, 3, 64, 64)
    assert (spec.dim, spec.image_size) == (512, 224)
    with torch.inference_mode():
        assert torch.allclose(module.fc(model.encode_image(pixels)), module(pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "architecture", "size"),
    [("timm", "vit_tiny_patch16_224", 96), ("torchvision", "resnet18", 128), ("open_clip", "ViT-B-32", 256)],
)
def test_another_input_size(backend: str, architecture: str, size: int) -> None:
    """`image_size` reaches architecture, reference transform and description alike."""
    from PIL import Image

    from pixelmill.models.load import instantiate

    spec = own_spec("mine", backend=backend, architecture=architecture, checkpoint="x.pt", image_size=size)  # type: ignore[arg-type]
    model = instantiate(spec)
    assert spec.image_size == model.preprocessing.image_size == size
    assert model.reference_preprocess(Image.new("RGB", (300, 200))).shape == (3, size, size)


def test_a_size_that_the_architecture_cannot_have_is_refused() -> None:
    """OpenAI's ViT-B/32 takes 224 pixels and says so."""
    with pytest.raises(SettingsError, match="224"):
        own_spec("mine", backend="openai_clip", architecture="ViT-B/32", checkpoint="x.pt", image_size=256)


@pytest.mark.parametrize(
    ("backend", "wrong", "right"),
    [
        ("openai_clip", "ViT-B32", "ViT-B/32"),
        ("open_clip", "ViT-B-23", "ViT-B-32"),
        ("torchvision", "resnet19", "resnet18"),
        ("timm", "resnet19", "resnet18"),
    ],
)
def test_a_wrong_architecture_leads_to_the_right_one(backend: str, wrong: str, right: str) -> None:
    """An unknown architecture is a SettingsError that names the nearest."""
    with pytest.raises(SettingsError, match=right):
        own_spec("mine", backend=backend, architecture=wrong, checkpoint="x.pt")  # type: ignore[arg-type]


def test_another_architectures_weights_are_refused(tiny: TinyModels, tmp_path: Path) -> None:
    """Weights of ResNet-18 are no ResNet-34."""
    path = tiny.file_of(tiny.torchvision)
    spec = own_spec("mine", backend="torchvision", architecture="resnet34", checkpoint=str(path))
    with pytest.raises(WeightsRefused, match="layer"):
        load(spec, WeightsCache(tmp_path / "cache"))

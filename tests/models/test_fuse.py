"""Folding batch norms changes no vector."""

from __future__ import annotations

import copy
from collections.abc import Callable

import clip.model
import pytest
import timm
import torch
import torchvision
from torch import nn

from pixelmill import catalog
from pixelmill.models.fuse import quicken
from pixelmill.models.load import instantiate
from pixelmill.models.openai_clip import OpenAIClip
from tests.support.checkpoints import shaken

SIDE = 64


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def resnet_clip() -> nn.Module:
    return clip.model.CLIP(32, SIDE, (1, 1, 1, 1), 16, None, 8, 50, 32, 2, 1).float()


@pytest.mark.parametrize(
    ("build", "left"),
    [
        (lambda: torchvision.models.resnet18(), 0),
        (lambda: torchvision.models.mobilenet_v3_small(), 0),
        (lambda: torchvision.models.efficientnet_b0(), 0),
        (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=0), 0),
        (resnet_clip, 0),
        # DenseNet's other norms come before their convolutions.
        (lambda: torchvision.models.densenet121(), 62),
    ],
    ids=["resnet", "mobilenet", "efficientnet", "timm", "clip", "densenet"],
)
@torch.inference_mode()
def test_vectors_stay_and_norms_go(build: Callable[[], nn.Module], left: int) -> None:
    """Of real architectures every batch norm behind a convolution is folded, and the outputs are the same."""
    torch.manual_seed(0)
    module = shaken(build()).eval()
    quick = copy.deepcopy(module)
    assert quicken(quick) == norms(module) - left
    assert norms(quick) == left
    encode, fast = (getattr(m, "encode_image", m) for m in (module, quick))
    pixels = torch.randn(4, 3, SIDE, SIDE)
    wanted, got = encode(pixels), fast(pixels)
    assert torch.cosine_similarity(got.double(), wanted.double()).min() >= 0.999999
    assert torch.allclose(got, wanted, rtol=1e-3, atol=1e-4)
    assert torch.allclose(fast(pixels.contiguous(memory_format=torch.channels_last)), wanted, rtol=1e-3, atol=1e-4)


class Twice(nn.Module):
    """A convolution whose output is used beside the norm, and one norm that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.beside, self.shared = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        direct = self.first(pixels)
        return self.beside(direct) + direct + self.shared(self.second(pixels)) + self.shared(self.third(pixels))


class Choosing(nn.Module):
    """Looks at its values, which no trace can follow; its part can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.part(pixels)
        return made if made.sum() > 0 else -made


@pytest.mark.parametrize(("build", "folded"), [(Twice, 0), (Choosing, 1)])
@torch.inference_mode()
def test_what_cannot_be_folded_stays(build: Callable[[], nn.Module], folded: int) -> None:
    """Norms that are shared, or convolutions that feed something else as well, are left; untraceable code costs only itself."""
    torch.manual_seed(0)
    module = shaken(build()).eval()
    pixels = torch.randn(2, 3, 8, 8)
    wanted = module(pixels)
    assert quicken(module) == folded
    assert torch.allclose(module(pixels), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_layer_norms_of_clip_stay_in_float32(dtype: torch.dtype) -> None:
    """In half precision PyTorch's own layer norm, on a CPU, gives what clip's gives by way of float32, to the bit; also
    when the model is turned twice."""
    torch.manual_seed(0)
    theirs = clip.model.LayerNorm(64)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    made = instantiate(catalog.get("openai_clip_vit_b32"))
    layers = nn.Sequential(copy.deepcopy(theirs), nn.Linear(64, 8))
    model = OpenAIClip(made.spec, layers, made.preprocessing, made.reference_preprocess)
    model.to(model.device, torch.float32).to(model.device, dtype)
    ours, linear = model.module
    assert (ours.weight.dtype, linear.weight.dtype) == (torch.float32, dtype)
    values = 3 * torch.randn(100, 64).to(dtype)
    assert ours(values).dtype == dtype
    assert torch.equal(ours(values), theirs(values))

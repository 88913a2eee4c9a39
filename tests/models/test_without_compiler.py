"""Model libraries are loaded without PyTorch's compiler, and work with it all the same once somebody wants it."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
from pixelmill.models.without_compiler import without_compiler
with without_compiler():
    import timm, torchvision
    from timm.models.naflexvit import NaFlexRopeIterator
assert "torch._dynamo" not in sys.modules
import torch
"""


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(
            "boxes = [torch.tensor([[0., 0., 4., 4.]])]\n"
            "assert torchvision.ops.roi_align(torch.rand(1, 3, 8, 8), boxes, 2).shape[1] == 3",
            id="not compiled",
        ),
        pytest.param(
            "from torchvision.ops.roi_align import is_compile_supported\nassert is_compile_supported('cpu')",
            id="asked for", marks=pytest.mark.slow,
        ),
        pytest.param(
            "model = timm.create_model('resnet10t').eval()\n"
            "compiled = torch.compile(model, backend='eager')\n"
            "pixels = torch.rand(1, 3, 64, 64)\n"
            "torch.testing.assert_close(compiled(pixels), model(pixels))\n"
            "assert torch._dynamo.utils.counters['stats']['unique_graphs'] >= 1",
            id="compiled", marks=pytest.mark.slow,
        ),
        pytest.param(
            "with without_compiler():\n    import torch._dynamo\n    assert not torch._dynamo.config.suppress_errors",
            id="asked for meanwhile", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_the_compiler_is_there_when_it_is_wanted(then: str) -> None:
    """By torchvision, by timm, by `torch.compile`, or at once by whoever imports it."""
    done = subprocess.run([sys.executable, "-c", f"{LOADED}{then}\n"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_is_marked_can_be_called_meanwhile() -> None:
    """PyTorch marks functions of its own, which an architecture of open_clip calls while it is built."""
    program = (
        "from pixelmill.models.own import own_spec\n"
        "assert own_spec('mine', backend='open_clip', architecture='ViT-B-32', checkpoint='x.pt').dim == 512\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

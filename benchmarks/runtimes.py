"""Does another runtime embed faster than eager PyTorch, and what does Pixelmill's own way gain?

    python -m benchmarks.runtimes [--models resnet50,efficientnet_b0,rn50,vit_b32] [--batch 16] [--turns 5]

Real architectures with seeded random weights, float32, inputs in memory, in turns, best of each. ONNX Runtime and
OpenVINO are left out where they are not installed (`pip install onnx onnxruntime openvino`).

    eager          the upstream module on contiguous pixels
    pixels         the same on channels-last pixels, as `decode = "fast"` makes them
    pixelmill      as it is loaded: batch norms folded into the convolutions before them, weights channels-last
    inductor       torch.compile of the upstream module, channels-last
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip.model
import numpy as np
import torch
import torchvision

from pixelmill.models.fold import quicken
from pixelmill.precision import least_cosine

SIDE = 224
Way = Callable[[], torch.Tensor | np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50,efficientnet_b0,rn50,vit_b32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    for name in given.models.split(","):
        compare(name, built(name), given.batch, given.turns)


def built(name: str) -> torch.nn.Module:
    """The image tower or classifier, with random weights and batch norms that do something."""
    torch.manual_seed(0)
    if name == "rn50":
        module = clip.model.CLIP(1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12).visual
    elif name == "vit_b32":
        module = clip.model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12).visual
    else:
        module = getattr(torchvision.models, name)(weights=None)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            layer.weight.data.uniform_(0.5, 1.5)
    return module.float().eval()


def compare(name: str, module: torch.nn.Module, batch: int, turns: int) -> None:
    """Print images/s of each way, beside eager, and the least cosine to it."""
    pixels = torch.randn(batch, 3, SIDE, SIDE)
    last = pixels.contiguous(memory_format=torch.channels_last)
    ways: dict[str, Way] = {"eager": lambda: module(pixels), "pixels": lambda: module(last)}
    with tempfile.TemporaryDirectory() as folder:
        for title, make in MAKERS.items():
            try:
                ways[title] = make(module, pixels, Path(folder))
            except Exception as error:
                print(f"  {name} {title}: left out, {type(error).__name__}: {str(error)[:100]}", flush=True)
        expected = np.asarray(module(pixels))
        cosines = {title: least_cosine(expected, np.asarray(way())) for title, way in ways.items()}
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(turns):
            for title, way in ways.items():
                start = time.perf_counter()
                way()
                best[title] = min(best[title], time.perf_counter() - start)
    print(f"{name}, batches of {batch}, {torch.get_num_threads()} threads")
    for title, seconds in best.items():
        ratio = best["eager"] / seconds
        print(
            f"  {title:<14}{batch / seconds:8.1f} images/s {ratio:6.2f} x eager   cosine {cosines[title]:.7f}",
            flush=True,
        )


def pixelmill(module: torch.nn.Module, pixels: torch.Tensor, _folder: Path) -> Way:
    own = copy.deepcopy(module)
    quicken(own)
    last = pixels.contiguous(memory_format=torch.channels_last)
    return lambda: own(last)


def inductor(module: torch.nn.Module, pixels: torch.Tensor, _folder: Path) -> Way:
    compiled = torch.compile(copy.deepcopy(module).to(memory_format=torch.channels_last))
    last = pixels.contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    compiled(last)
    print(f"  compiling took {time.perf_counter() - start:.0f} s", flush=True)
    return lambda: compiled(last)


def onnx_runtime(module: torch.nn.Module, pixels: torch.Tensor, folder: Path) -> Way:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(exported(module, pixels, folder), options, ["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: pixels.numpy()}
    return lambda: session.run(None, inputs)[0]


def openvino(module: torch.nn.Module, pixels: torch.Tensor, folder: Path) -> Way:
    from openvino import Core

    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled: Any = Core().compile_model(exported(module, pixels, folder), "CPU", options)
    return lambda: compiled([pixels.numpy()])[0]


def exported(module: torch.nn.Module, pixels: torch.Tensor, folder: Path) -> str:
    path = folder / "model.onnx"
    if not path.exists():
        torch.onnx.export(module, (pixels,), str(path), dynamo=False)
    return str(path)


MAKERS = {"pixelmill": pixelmill, "inductor": inductor, "onnxruntime": onnx_runtime, "openvino": openvino}

if __name__ == "__main__":
    main()

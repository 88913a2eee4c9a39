"""Does another runtime embed faster than eager PyTorch, and what does Pixelmill's own way gain?

    python -m benchmarks.runtimes [--models resnet50,efficientnet_b0,rn50,vit_b32] [--batch 32] [--turns 5]

Real architectures with seeded random weights, float32 where nothing else is said, inputs in memory. Each way has a
process of its own; in turns, best of each. ONNX Runtime and OpenVINO are left out where they are not installed (`pip
install onnx onnxruntime openvino`).

    eager          the upstream module on contiguous pixels
    channels-last  the same on channels-last pixels, as `decode = "fast"` makes them
    pixelmill      as it is loaded: batch norms folded into the convolutions before them, weights channels-last, memory
                   that was freed kept
    bfloat16       the same in bfloat16, which `precision = "auto"` takes where it holds and is faster
    inductor       torch.compile of the upstream module, channels-last
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import clip.model
import numpy as np
import torch
import torchvision

from pixelmill import catalog
from pixelmill.embedding.precision import least_cosine
from pixelmill.malloc import keep_freed
from pixelmill.models.fuse import quicken
from pixelmill.models.load import instantiate
from pixelmill.models.openai_clip import OpenAIClip

SIDE = 224
Way = Callable[[], torch.Tensor | np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50,efficientnet_b0,rn50,vit_b32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    for name in given.models.split(","):
        compare(name, given.batch, given.turns)


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


def compare(name: str, batch: int, turns: int) -> None:
    """Print images/s of each way, beside eager, and the least cosine to it. Each has a process of its own."""
    with ExitStack() as stack:
        ways: dict[str, ProcessPoolExecutor] = {}
        vectors: dict[str, np.ndarray] = {}
        for title in MAKERS:
            process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            try:
                vectors[title] = process.submit(prepare, title, name, batch).result()
                ways[title] = process
            except Exception as error:
                print(f"  {name} {title}: left out, {type(error).__name__}: {str(error)[:100]}", flush=True)
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(turns):
            for title, process in ways.items():
                best[title] = min(best[title], process.submit(once).result())
    print(f"{name}, batches of {batch}, {torch.get_num_threads()} threads")
    for title, seconds in best.items():
        ratio, cosine = best["eager"] / seconds, least_cosine(vectors["eager"], vectors[title])
        print(f"  {title:<14}{batch / seconds:8.1f} images/s {ratio:6.2f} x eager   cosine {cosine:.7f}", flush=True)


_way: list[Way] = []
"""Of this process."""


def prepare(title: str, name: str, batch: int) -> np.ndarray:
    """Make one way ready in this process, and run it once: float32 (batch, dim)."""
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    pixels = torch.randn(batch, 3, SIDE, SIDE)
    with tempfile.TemporaryDirectory() as folder:
        _way[:] = [MAKERS[title](built(name), pixels, Path(folder))]
    made = _way[0]()
    return made.float().numpy() if isinstance(made, torch.Tensor) else made


def once() -> float:
    """Seconds of the way of this process."""
    start = time.perf_counter()
    _way[0]()
    return time.perf_counter() - start


def eager(module: torch.nn.Module, pixels: torch.Tensor, _folder: Path) -> Way:
    return lambda: module(pixels)


def channels_last(module: torch.nn.Module, pixels: torch.Tensor, _folder: Path) -> Way:
    last = pixels.contiguous(memory_format=torch.channels_last)
    return lambda: module(last)


def pixelmill(module: torch.nn.Module, pixels: torch.Tensor, _folder: Path) -> Way:
    keep_freed()
    quicken(module)
    last = pixels.contiguous(memory_format=torch.channels_last)
    return lambda: module(last)


def bfloat16(module: torch.nn.Module, pixels: torch.Tensor, folder: Path) -> Way:
    made = instantiate(catalog.get("openai_clip_vit_b32"))
    model = OpenAIClip(made.spec, module, made.preprocessing, made.reference_preprocess)
    model.to(model.device, torch.bfloat16)
    return pixelmill(module, pixels.bfloat16(), folder)


def inductor(module: torch.nn.Module, pixels: torch.Tensor, _folder: Path) -> Way:
    compiled = torch.compile(module.to(memory_format=torch.channels_last))
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


MAKERS: dict[str, Callable[[torch.nn.Module, torch.Tensor, Path], Way]] = {
    "eager": eager, "channels-last": channels_last, "pixelmill": pixelmill, "bfloat16": bfloat16,
    "inductor": inductor, "onnxruntime": onnx_runtime, "openvino": openvino,
}  # fmt: skip

if __name__ == "__main__":
    main()

"""Models with random weights, as files that Pixelmill loads like any other: by open_clip where it is, else by timm."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import save_file

from benchmarks.gpu.cells import NotMeasured, Setting
from pixelmill.bench import rate
from pixelmill.images.preprocess import normalize
from pixelmill.models.backends import library
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.models.load import load_file
from pixelmill.run.job import CacheSpec

KNOWN = {
    "ViT-B/32": ("open_clip:ViT-B-32/openai", "timm:vit_base_patch32_clip_224.openai"),
    "ViT-L/14": ("open_clip:ViT-L-14/openai", "timm:vit_large_patch14_clip_224.openai"),
    "ViT-H/14": ("open_clip:ViT-H-14/laion2b_s32b_b79k", "timm:vit_huge_patch14_clip_224.laion2b"),
    "ResNet-50": ("torchvision:resnet50",),
}
"""By the name of their column; another name is one that Pixelmill knows, as `timm:test_vit.r160_in1k`."""
DTYPES = ("float32", "float16", "bfloat16")


@cache
def spec_of(name: str) -> ModelSpec:
    """The spec of a column's model, with its published weights, by the first backend that is installed."""
    for upstream in KNOWN.get(name, (name,)):
        backend = upstream.partition(":")[0]
        if find_spec(backend):
            return library(backend).resolve(upstream)
    raise NotMeasured(f"{backend} is not installed")


def random_spec(setting: Setting, name: str) -> ModelSpec:
    """The same with random weights, in a file that is made at the first call."""
    spec = spec_of(name)
    file = setting.folder / "weights" / f"{name.replace('/', '-')}.safetensors"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        torch.manual_seed(0)
        state = {key: value.cpu().contiguous() for key, value in _upstream(spec, setting.device).state_dict().items()}
        draft = file.with_name(f"{os.getpid()}-{file.name}")
        save_file(state, draft)
        draft.rename(file)
    return replace(spec, weights=WeightsSource(f"file:{file}"), others=())


def _upstream(spec: ModelSpec, device: str) -> Any:
    """As its library makes it, on the device, where large ones are made sooner."""
    with torch.device(device):
        if spec.backend == "open_clip":
            import open_clip

            return open_clip.create_model(spec.architecture, device=device)
        if spec.backend == "timm":
            return timm.create_model(spec.architecture)
        return torchvision.models.get_model(spec.architecture, weights=None)


def cache_of(setting: Setting) -> CacheSpec:
    return CacheSpec(cache_dir=setting.folder / "cache", offline=True)


@lru_cache(1)
def loaded(setting: Setting, name: str, dtype: str) -> EmbeddingModel:
    """As a run loads it."""
    spec = random_spec(setting, name)
    return load_file(spec, cache_of(setting).open().fetch_model(spec), device=setting.device, dtype=dtype)


def pixels(model: EmbeddingModel, batch: int) -> torch.Tensor:
    """A batch as runs give it to a model, on its device: normalised, its channels last."""
    side = model.preprocessing.image_size
    numbers = torch.Generator().manual_seed(1)
    made = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, generator=numbers)
    return normalize(made.to(model.device), model.preprocessing, model.dtype)


def calls_per_second(setting: Setting, call: Callable[[], object], *, at_once: int = 4) -> float:
    """Of calls that work in the device's memory; a GPU is given some `at_once` before it is waited for."""
    calls = at_once if setting.is_cuda else 1

    def work() -> int:
        with torch.inference_mode():
            for _ in range(calls):
                call()
        wait(setting)
        return calls

    return rate(work, setting.seconds)


def wait(setting: Setting) -> None:
    """Until the device has done what it was given."""
    if setting.is_cuda:
        torch.cuda.synchronize(setting.device)

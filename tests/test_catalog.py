"""The catalog against DESIGN's names and against what upstream builds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pixelmill import catalog
from pixelmill.errors import UnknownModel
from pixelmill.models.base import ModelSpec

PROMISED = {
    "efficientnet_lite0": (1280, 224),
    "openai_clip_vit_b32": (512, 224),
    "openai_clip_vit_b16": (512, 224),
    "openai_clip_vit_l14": (768, 224),
    "openai_clip_rn50": (1024, 224),
    "openai_clip_rn101": (512, 224),
    "open_clip_vit_b32_openai": (512, 224),
    "open_clip_vit_b32_laion400m": (512, 224),
    "open_clip_vit_b16_laion400m": (512, 224),
    "open_clip_vit_l14_laion2b": (768, 224),
    "open_clip_vit_h14_laion2b": (1024, 224),
    "open_clip_convnext_base": (512, 256),
    "open_clip_convnext_large": (768, 320),
}


def test_it_imports_no_model_library() -> None:
    """Listing every model, as `pixelmill --help` may, loads neither torch nor numpy nor httpx."""
    code = (
        "import sys; from pixelmill import catalog; assert len(catalog.names()) > 90;"
        "print(sorted({'torch', 'numpy', 'httpx', 'timm', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_promised_models_are_there() -> None:
    """The names, dims and input sizes of the documentation are in the catalog, each name once."""
    assert {n: (catalog.get(n).dim, catalog.get(n).image_size) for n in PROMISED} == PROMISED
    assert len(set(catalog.names())) == len(catalog.names())


@pytest.mark.slow
def test_the_torchvision_table_is_upstreams() -> None:
    """torchvision_models.json is what the installed torchvision says; run the module to write it anew."""
    from pixelmill.tables.torchvision import TABLE, rows

    assert json.loads(TABLE.read_text("utf-8")) == rows()


@pytest.mark.parametrize("spec", catalog.all_models(), ids=lambda spec: spec.name)
def test_it_instantiates_with_its_dim(spec: ModelSpec) -> None:
    """Each architecture, built by upstream on `meta`, turns its input size into its dim."""
    import torch

    from pixelmill.models.load import instantiate

    model = instantiate(spec)
    pixels = torch.empty(2, 3, spec.image_size, spec.image_size, device="meta")
    with torch.inference_mode():
        assert model.encode_image(pixels).shape == (2, spec.dim)
    assert model.preprocessing.image_size == spec.image_size
    if spec.text:  # classifiers are instantiated without their last layer
        assert sum(p.numel() for p in model.module.parameters()) == spec.parameters


def test_openai_files_are_the_ones_of_clip() -> None:
    """URL and sha256 of OpenAI's archives are those in the `clip` package."""
    import clip.clip

    for spec in catalog.all_models():
        if spec.backend == "openai_clip":
            assert spec.weights.url == clip.clip._MODELS[spec.architecture]
            assert spec.weights.pinned
            assert spec.weights.sha256 == spec.weights.url.split("/")[-2]


def test_open_clip_files_are_the_ones_of_open_clip() -> None:
    """Repository, activation and normalisation of open_clip's models are those in open_clip's own table."""
    import open_clip

    for spec in catalog.all_models():
        if spec.backend == "open_clip":
            config = open_clip.get_pretrained_cfg(spec.architecture, spec.pretrained)
            assert (
                spec.weights.url == f"https://huggingface.co/{config['hf_hub']}resolve/main/open_clip_model.safetensors"
            )
            quick = open_clip.get_model_config(spec.architecture).get("quick_gelu", False)
            assert quick == config.get("quick_gelu", False), spec.name


def test_each_use_has_its_recommendation() -> None:
    """The recommended choices are the documented ones."""
    recommended = {spec.name: spec.recommended for spec in catalog.all_models() if spec.recommended}
    assert recommended.keys() == {
        "efficientnet_lite0",
        "openai_clip_vit_b32",
        "open_clip_vit_l14_laion2b",
        "open_clip_vit_h14_laion2b",
    }
    assert "no download" in recommended["efficientnet_lite0"]


def test_weights_that_forbid_commerce_say_so() -> None:
    """The SWAG weights are CC-BY-NC, unlike the rest of torchvision."""
    swag = {s.name for s in catalog.all_models() if s.licence == "CC-BY-NC-4.0"}
    assert swag == {"vit_h_14", "regnet_y_128gf"}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("openai_clip_vit_b23", "openai_clip_vit_b32"),
        ("timm:resnet50.a1_in1l", "resnet50.a1_in1k"),
        ("open_clip:ViT-B-32/openia", "ViT-B-32/openai"),
        ("torchvision:resnet19", "resnet18"),
        ("torchvision:resnet18/IMAGENET", "IMAGENET1K_V1"),
    ],
)
def test_a_wrong_name_leads_to_the_right_one(wrong: str, right: str) -> None:
    """An unknown model raises UnknownModel with the nearest names, also beyond the catalog."""
    with pytest.raises(UnknownModel, match=right):
        catalog.get(wrong)


@pytest.mark.parametrize(
    ("name", "dim", "size", "url"),
    [
        ("timm:resnet18.a1_in1k", 512, 224, "huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"),
        ("timm:mobilenetv3_large_100.ra_in1k", 1280, 224, "timm/mobilenetv3_large_100.ra_in1k/resolve/main/"),
        ("open_clip:RN50/cc12m", 1024, 224, "timm/resnet50_clip.cc12m/resolve/main/open_clip_model.safetensors"),
        ("torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1", 768, 384, "download.pytorch.org/models/vit_b_16_swag-9ac1b537"),
    ],
)
def test_names_beyond_the_catalog_resolve(name: str, dim: int, size: int, url: str) -> None:
    """`timm:`, `open_clip:` and `torchvision:` names become specs by upstream's own tables."""
    spec = catalog.get(name)
    assert (spec.name, spec.dim, spec.image_size) == (name, dim, size)
    assert url in spec.weights.url

"""Checkpoints as people's training code writes them, beside what the upstream libraries make of the same file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pixelmill.errors import SettingsError, WeightsRefused
from pixelmill.models.base import EmbeddingModel, TextModel
from pixelmill.models.load import load
from pixelmill.models.own import own_spec
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TINY_OPEN_CLIP, save_openai_archive, shaken, tiny_openai_module

PIXELS = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
WORDS = ["a red square", "two dogs"]
State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def seeded() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        yield


@pytest.fixture
def cache(tmp_path: Path) -> WeightsCache:
    return WeightsCache(tmp_path / "cache")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A model_config as training code keeps it."""
    path = tmp_path / "my-clip.json"
    path.write_text(json.dumps(TINY_OPEN_CLIP))
    return path


@pytest.fixture
def open_clip_module(config: Path) -> Any:
    """The model behind it, by open_clip itself."""
    import open_clip

    return shaken(open_clip.CLIP(**json.loads(config.read_text()))).eval()


def agree(model: EmbeddingModel, expected: torch.Tensor, got: torch.Tensor) -> None:
    assert got.shape == expected.shape
    assert torch.cosine_similarity(got, expected).min() > 0.99999
    assert torch.allclose(got, expected, rtol=1e-3, atol=1e-4)


TRAINERS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "DistributedDataParallel": lambda state: {f"module.{name}": t for name, t in state.items()},
    "torch.compile": lambda state: {f"_orig_mod.{name}": t for name, t in state.items()},
    "with optimizer": lambda state: {
        "epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {0: {"step": torch.tensor(5.0)}}},
    },
    "a wrapper in DDP": lambda state: {"state_dict": {f"module.clip_model.{name}": t for name, t in state.items()}},
    "Lightning": lambda state: {
        "state_dict": {f"model.{name}": t for name, t in state.items()}, "optimizer_states": [], "global_step": 9,
    },
}  # fmt: skip


@pytest.mark.parametrize("trainer", TRAINERS)
def test_fine_tuned_openai_clips_load(trainer: str, tmp_path: Path, cache: WeightsCache) -> None:
    """A state dict of OpenAI's CLIP gives upstream's embeddings, whatever the training put around it."""
    module = tiny_openai_module()
    torch.save(TRAINERS[trainer](module.state_dict()), tmp_path / "tuned.pt")
    draft = own_spec("mine", backend="openai_clip", architecture="ViT-B/32", checkpoint=str(tmp_path / "tuned.pt"))
    model = load(replace(draft, dim=40, image_size=64), cache)
    with torch.inference_mode():
        agree(model, module.encode_image(PIXELS), model.encode_image(PIXELS))


def test_the_checkpoint_of_open_clips_trainer(
    tmp_path: Path, cache: WeightsCache, config: Path, open_clip_module: Any
) -> None:
    """What open_clip_train/main.py saves after an epoch, with optimizer and scaler, loads with one's own model_config,
    both towers, as open_clip itself loads it."""
    import open_clip

    optimizer = torch.optim.AdamW(open_clip_module.parameters())
    saved = {
        "epoch": 1, "name": "run", "state_dict": {f"module.{n}": t for n, t in open_clip_module.state_dict().items()},
        "optimizer": optimizer.state_dict(), "scaler": torch.amp.GradScaler("cpu").state_dict(),
    }  # fmt: skip
    torch.save(saved, tmp_path / "epoch_1.pt")
    spec = own_spec("mine", backend="open_clip", architecture=str(config), checkpoint=str(tmp_path / "epoch_1.pt"))
    assert (spec.dim, spec.image_size) == (48, 64)
    assert spec.architecture.startswith("my-clip@")
    model = load(spec, cache)
    open_clip.add_model_config(config)
    upstream, _, preprocess = open_clip.create_model_and_transforms("my-clip", pretrained=str(tmp_path / "epoch_1.pt"))
    upstream.eval()
    picture = Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 50).convert("RGB")
    assert torch.equal(model.reference_preprocess(picture), preprocess(picture))
    assert isinstance(model, TextModel)
    with torch.inference_mode():
        agree(model, upstream.encode_image(PIXELS), model.encode_image(PIXELS))
        ids = open_clip.get_tokenizer("my-clip")(WORDS)
        assert torch.equal(model.tokenize(WORDS).ids, ids)
        agree(model, upstream.encode_text(ids), model.encode_text(ids))


def test_another_config_is_another_architecture(tmp_path: Path, config: Path) -> None:
    """The name that a matrix records changes with the content of the model_config, not with its folder."""

    def named(path: Path) -> str:
        return own_spec("mine", backend="open_clip", architecture=str(path), checkpoint="x.pt").architecture

    moved = tmp_path / "elsewhere" / config.name
    moved.parent.mkdir()
    moved.write_text(json.dumps(json.loads(config.read_text()), indent=8))
    assert named(moved) == named(config)
    moved.write_text(json.dumps({**TINY_OPEN_CLIP, "quick_gelu": True}))
    assert named(moved) != named(config)


def test_its_own_preprocessing_comes_with_a_config(tmp_path: Path) -> None:
    """An open_clip_config.json brings its mean, std, resizing and interpolation; the settings come before it."""
    path = tmp_path / "open_clip_config.json"
    pre = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "squash"}
    path.write_text(json.dumps({"model_cfg": TINY_OPEN_CLIP, "preprocess_cfg": pre}))
    from pixelmill.models.load import instantiate

    made = instantiate(own_spec("m", backend="open_clip", architecture=str(path), checkpoint="x.pt")).preprocessing
    assert (made.mean, made.std, made.interpolation, made.resize_mode) == (
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
        "bilinear",
        "squash",
    )
    own = own_spec("m", backend="open_clip", architecture=str(path), checkpoint="x.pt", mean=(0.5, 0.5, 0.5))
    assert instantiate(own).preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("content", ["{", "[]", '{"vision_cfg": {}}', None])
def test_a_config_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    """The message names the file and what it lacks."""
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=r"broken\.json"):
        own_spec("m", backend="open_clip", architecture=str(path), checkpoint="x.pt")


def hf_clip(folder: Path, act: str) -> Any:
    """A small CLIPModel as `save_pretrained` writes it, random weights."""
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "hidden_act": act}
    module = CLIPModel(
        CLIPConfig(
            projection_dim=40,
            text_config={**tower, "num_attention_heads": 1, "vocab_size": 49408, "max_position_embeddings": 16,
                         "bos_token_id": 49406, "eos_token_id": 49407},
            vision_config={**tower, "num_attention_heads": 1, "image_size": 64, "patch_size": 16},
        )
    )  # fmt: skip
    shaken(module).eval().save_pretrained(folder)
    return module


def small_config(folder: Path, *, quick_gelu: bool) -> Path:
    path = folder / "small.json"
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    vision = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 64}
    path.write_text(json.dumps({"embed_dim": 40, "quick_gelu": quick_gelu, "text_cfg": text, "vision_cfg": vision}))
    return path


@pytest.mark.parametrize(
    ("backend", "act"), [("openai_clip", "quick_gelu"), ("open_clip", "quick_gelu"), ("open_clip", "gelu")]
)
def test_hugging_faces_clips_are_converted(backend: str, act: str, tmp_path: Path, cache: WeightsCache) -> None:
    """A CLIPModel's safetensors give what transformers itself gives, both towers."""
    upstream = hf_clip(tmp_path / "hf", act)
    checkpoint = str(tmp_path / "hf" / "model.safetensors")
    if backend == "openai_clip":
        draft = own_spec("mine", backend="openai_clip", architecture="ViT-B/32", checkpoint=checkpoint)
        spec = replace(draft, dim=40, image_size=64)
    else:
        architecture = str(small_config(tmp_path, quick_gelu=act == "quick_gelu"))
        spec = own_spec("mine", backend="open_clip", architecture=architecture, checkpoint=checkpoint)
    model = load(spec, cache)
    assert isinstance(model, TextModel)
    ids = model.tokenize(WORDS).ids
    with torch.inference_mode():
        image = upstream.visual_projection(upstream.vision_model(pixel_values=PIXELS).pooler_output)
        text = upstream.text_projection(upstream.text_model(input_ids=ids).pooler_output)
        agree(model, image, model.encode_image(PIXELS))
        agree(model, text, model.encode_text(ids))


def test_hugging_faces_clip_with_another_activation_is_refused(tmp_path: Path, cache: WeightsCache) -> None:
    """gelu in an architecture with QuickGELU would make every vector wrong: refused, with the way out; and so without
    the config.json that tells."""
    hf_clip(tmp_path / "hf", "gelu")
    checkpoint = tmp_path / "hf" / "model.safetensors"

    def spec() -> Any:
        made = own_spec("mine", backend="openai_clip", architecture="ViT-B/32", checkpoint=str(checkpoint))
        return replace(made, dim=40, image_size=64)

    with pytest.raises(WeightsRefused, match=r"activation = gelu.*open_clip and an architecture without -quickgelu"):
        load(spec(), cache)
    (tmp_path / "hf" / "config.json").unlink()
    with pytest.raises(WeightsRefused, match=r"config\.json beside"):
        load(spec(), cache)


def test_an_open_clip_config_beside_the_weights_is_believed(
    tmp_path: Path, cache: WeightsCache, config: Path, open_clip_module: Any
) -> None:
    """Weights whose open_clip_config.json says QuickGELU, or another normalisation, are refused by an architecture
    without; what the settings state themselves is taken, with a doubt that is told."""
    folder = tmp_path / "pushed"
    folder.mkdir()
    torch.save(open_clip_module.state_dict(), folder / "weights.pt")

    def beside(**content: Any) -> None:
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_OPEN_CLIP, **content}))

    def loaded(**own: Any) -> EmbeddingModel:
        spec = own_spec(
            "m", backend="open_clip", architecture=str(config), checkpoint=str(folder / "weights.pt"), **own
        )
        return load(spec, cache)

    beside()
    assert loaded().doubts == ()
    beside(model_cfg={**TINY_OPEN_CLIP, "quick_gelu": True})
    with pytest.raises(WeightsRefused, match="activation = quick_gelu"):
        loaded()
    beside(preprocess_cfg={"mean": [0.5, 0.5, 0.5]})
    with pytest.raises(WeightsRefused, match=r"Give mean = \[0\.5, 0\.5, 0\.5\]"):
        loaded()
    assert loaded(mean=(0.5, 0.5, 0.5)).doubts == ()
    (doubt,) = loaded(mean=(0.1, 0.1, 0.1)).doubts
    assert "as the settings have it" in doubt
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(WeightsRefused, match=r"open_clip_config\.json"):
        loaded()
    spec = own_spec("m", backend="open_clip", architecture=str(config), checkpoint=str(folder / "weights.pt"))
    assert load(replace(spec, pretrained="published"), cache).doubts == (), "of those the library says what they are"


def test_merged_adapters_load_and_unmerged_are_refused(
    tmp_path: Path, cache: WeightsCache, config: Path, open_clip_module: Any
) -> None:
    """LoRA that was merged is a plain checkpoint, under PEFT's prefix as well; one that was not is told how to be."""
    from safetensors.torch import save_file

    path = tmp_path / "lora.safetensors"
    state = {f"base_model.model.{name}": t.clone() for name, t in open_clip_module.state_dict().items()}
    save_file(state, path)
    spec = own_spec("m", backend="open_clip", architecture=str(config), checkpoint=str(path))
    model = load(spec, cache)
    with torch.inference_mode():
        agree(model, open_clip_module.encode_image(PIXELS), model.encode_image(PIXELS))
    layer = "base_model.model.visual.transformer.resblocks.0.mlp.c_fc"
    weight = state.pop(f"{layer}.weight")
    adapter = {
        "base_layer.weight": weight,
        "lora_A.default.weight": torch.zeros(4, 64),
        "lora_B.default.weight": torch.zeros(256, 4),
    }
    save_file({**state, **{f"{layer}.{name}": t for name, t in adapter.items()}}, path)
    with pytest.raises(WeightsRefused, match=r"lora_A.*merge_and_unload"):
        load(own_spec("m", backend="open_clip", architecture=str(config), checkpoint=str(path)), cache)


@pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
def test_tensors_that_do_not_fit_are_listed(
    change: str, tmp_path: Path, cache: WeightsCache, config: Path, open_clip_module: Any
) -> None:
    """A gap is never left at random, and what is left over is never dropped."""
    state = dict(open_clip_module.state_dict())
    name = "visual.transformer.resblocks.1.ln_2.weight"
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        state[name := "visual.adapter.weight"] = torch.zeros(3)
    else:
        state[name] = torch.zeros(65)
    torch.save(state, tmp_path / "changed.pt")
    spec = own_spec("m", backend="open_clip", architecture=str(config), checkpoint=str(tmp_path / "changed.pt"))
    with pytest.raises(WeightsRefused, match=name):
        load(spec, cache)


@pytest.mark.parametrize("backend", ["timm", "torchvision", "open_clip"])
def test_another_input_size_resizes_the_positions_as_upstream_does(
    backend: str, tmp_path: Path, cache: WeightsCache, config: Path, open_clip_module: Any
) -> None:
    """Position embeddings of a checkpoint for another input size are interpolated by the library's own code."""
    path, size = str(tmp_path / "small.pt"), 96
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    if backend == "timm":
        import timm

        trained = shaken(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=None))
        torch.save(trained.state_dict(), path)
        upstream = timm.create_model(
            "vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay={"file": path}, img_size=size, num_classes=0
        )
        architecture, expected = "vit_tiny_patch16_224", upstream.eval()
    elif backend == "torchvision":
        from torchvision.models import vit_b_16
        from torchvision.models.vision_transformer import interpolate_embeddings

        trained = shaken(vit_b_16(image_size=64, num_classes=3))
        torch.save(trained.state_dict(), path)
        module = vit_b_16(image_size=size, num_classes=3)
        module.load_state_dict(interpolate_embeddings(size, 16, trained.state_dict()))
        module.heads = torch.nn.Identity()
        architecture, expected = "vit_b_16", module.eval()
    else:
        import open_clip

        torch.save(open_clip_module.state_dict(), path)
        open_clip.add_model_config(config)
        whole = open_clip.create_model("my-clip", pretrained=path, force_image_size=size).eval()
        architecture, expected = str(config), whole.encode_image
    spec = own_spec("m", backend=backend, architecture=architecture, checkpoint=path, image_size=size)  # type: ignore[arg-type]
    model = load(spec, cache)
    with torch.inference_mode():
        agree(model, expected(pixels), model.encode_image(pixels))


def test_weights_that_nobody_trained_are_doubted(tmp_path: Path, cache: WeightsCache) -> None:
    """A checkpoint whose normalisation layers stand where they began is loaded, with the doubt; one step of training
    takes it away."""
    from torchvision.models import resnet18

    module = resnet18(num_classes=3)
    torch.save(module.state_dict(), tmp_path / "new.pth")
    spec = own_spec("mine", backend="torchvision", architecture="resnet18", checkpoint=str(tmp_path / "new.pth"))
    (doubt,) = load(spec, cache).doubts
    assert "look random" in doubt
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    module(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    torch.save(module.state_dict(), tmp_path / "new.pth")
    assert load(spec, cache).doubts == ()


def test_an_archive_of_openais_own_needs_its_digest(tmp_path: Path, cache: WeightsCache) -> None:
    """A fine-tuned TorchScript archive runs code: it is loaded once its sha256 stands in the settings."""
    from pixelmill.models.fetch.records import sha256_of

    path = tmp_path / "tuned.pt"
    save_openai_archive(tiny_openai_module(), path)
    spec = own_spec("mine", backend="openai_clip", architecture="ViT-B/32", checkpoint=str(path))
    with pytest.raises(WeightsRefused, match=sha256_of(path)):
        load(replace(spec, dim=40, image_size=64), cache)
    spec = own_spec(
        "mine", backend="openai_clip", architecture="ViT-B/32", checkpoint=str(path), sha256=sha256_of(path)
    )
    assert load(replace(spec, dim=40, image_size=64), cache).spec.dim == 40

"""Each backend against its upstream library's own call on the very file that was fetched."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pixelmill import catalog
from pixelmill.errors import WeightsRefused
from pixelmill.models import timm
from pixelmill.models.base import EmbeddingModel, ModelSpec, TextModel, WeightsSource
from pixelmill.models.load import load, load_file
from pixelmill.models.weights import CachedFile, WeightsCache
from tests.support.checkpoints import TinyModels, save_torchvision, shaken
from tests.support.server import WeightsServer

Upstream = tuple[torch.nn.Module, Any, Any]


class BackendContract:
    """What every backend promises. A subclass names the tiny spec and calls upstream's own loader."""

    def spec(self, tiny: TinyModels) -> ModelSpec:
        raise NotImplementedError

    def upstream(self, spec: ModelSpec, path: Path) -> tuple[Any, Any]:
        """Upstream's own: (a picture -> pixels, a batch of pixels -> embeddings)."""
        raise NotImplementedError

    @pytest.fixture
    def cache(self, tmp_path: Path, server: WeightsServer) -> WeightsCache:
        return WeightsCache(tmp_path / "cache", mirrors={"*": server.url})

    @pytest.fixture
    def model(self, tiny: TinyModels, cache: WeightsCache) -> EmbeddingModel:
        return load(self.spec(tiny), cache)

    def test_vectors_equal_upstreams(
        self, model: EmbeddingModel, cache: WeightsCache, pictures: list[Image.Image]
    ) -> None:
        """Fetched over HTTP, in float32, pixels and vectors are those of the upstream library."""
        preprocess, encode = self.upstream(model.spec, cache.path_of(model.spec.weights))
        ours = torch.stack([model.reference_preprocess(p) for p in pictures])
        theirs = torch.stack([preprocess(p) for p in pictures])
        with torch.inference_mode():
            got, wanted = model.encode_image(ours), encode(theirs)
        assert torch.equal(ours, theirs)
        assert got.shape == (len(pictures), model.spec.dim)
        assert torch.cosine_similarity(got, wanted.float()).min() >= 0.99999
        assert torch.allclose(got, wanted.float(), rtol=1e-4, atol=1e-5)
        assert torch.cosine_similarity(got[0], got[1], dim=0) < 0.99999, "pictures must differ for this to say anything"

    def test_preprocessing_says_what_the_reference_does(self, model: EmbeddingModel) -> None:
        """`preprocessing` describes upstream's transform: size of its output, and what pure white becomes."""
        described = model.preprocessing
        white = model.reference_preprocess(Image.new("RGB", (333, 222), "white"))
        expected = [(1 - m) / s for m, s in zip(described.mean, described.std, strict=True)]
        assert white.shape == (3, model.spec.image_size, model.spec.image_size)
        assert described.image_size == model.spec.image_size
        assert white.amax((1, 2)).tolist() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_other_precisions_stay_close(
        self, model: EmbeddingModel, cache: WeightsCache, pictures: list[Image.Image], dtype: str
    ) -> None:
        """In half precision the vectors stay within cosine 0.999 of float32."""
        low = load(model.spec, cache, dtype=dtype)
        pixels = torch.stack([model.reference_preprocess(p) for p in pictures])
        with torch.inference_mode():
            got, wanted = low.encode_image(pixels.to(low.dtype)), model.encode_image(pixels)
        assert got.dtype == low.dtype
        assert torch.cosine_similarity(got.float(), wanted).min() >= 0.999

    def test_it_is_ready_for_inference(self, model: EmbeddingModel, cache: WeightsCache) -> None:
        """A loaded model is in eval mode, float32, without gradients, and knows the sha256 of its weights."""
        assert not model.module.training
        assert not any(p.requires_grad or p.is_meta or p.dtype != torch.float32 for p in model.module.parameters())
        assert model.weights_sha256 == cache.fetch(model.spec.weights).sha256

    def test_weights_with_a_gap_are_refused(self, tiny: TinyModels, cache: WeightsCache, tmp_path: Path) -> None:
        """A missing tensor is refused by name, not left at random."""
        spec = self.spec(tiny)
        state = _state(cache.fetch(spec.weights).path)
        gone = next(n for n in state if n.endswith(("attn.in_proj_weight", "conv1.weight", "conv_stem.weight")))
        path = tmp_path / "gap.pth"
        torch.save({name: tensor for name, tensor in state.items() if name != gone}, path)
        with pytest.raises(WeightsRefused, match=gone.replace(".", r"\.")):
            load_file(spec, CachedFile(path, "0" * 64))


def _state(path: Path) -> dict[str, torch.Tensor]:
    from pixelmill.models.checkpoint.state_dict import is_torchscript, read_state_dict

    if not is_torchscript(path):
        return read_state_dict(path)
    state = torch.jit.load(str(path)).state_dict()
    return {k: v for k, v in state.items() if k not in ("input_resolution", "context_length", "vocab_size")}


TEXTS = ["a red circle", "Überraschung, 漢字, 🙂", ""]
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


class TextContract(BackendContract):
    """What a backend with a text tower promises besides."""

    def upstream_text(self, spec: ModelSpec, path: Path, texts: list[str]) -> torch.Tensor:
        """Upstream's own tokens and embeddings of texts that fit."""
        raise NotImplementedError

    def test_text_vectors_equal_upstreams(self, model: TextModel, cache: WeightsCache) -> None:
        """In float32, vectors of short, foreign and empty texts are those of the upstream library."""
        wanted = self.upstream_text(model.spec, cache.path_of(model.spec.weights), TEXTS)
        tokens = model.tokenize(TEXTS)
        with torch.inference_mode():
            got = model.encode_text(tokens.ids)
        assert tokens.cut == (0, 0, 0)
        assert got.shape == (len(TEXTS), model.spec.dim)
        assert torch.allclose(got, wanted.float(), rtol=1e-4, atol=1e-5)
        assert torch.cosine_similarity(got[0], got[1], dim=0) < 0.99999, "texts must differ for this to say anything"

    def test_a_long_text_says_how_much_is_cut(self, model: TextModel) -> None:
        """Of 16 words, begin and end, 16 tokens fit: 2 are cut, and the rest does not matter."""
        tokens = model.tokenize([LONG, f"{LONG} more", "short"])
        assert tokens.ids.shape == (3, 16)
        assert tokens.cut == (2, 3, 0)
        assert torch.equal(tokens.ids[0], tokens.ids[1])

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_text_in_other_precisions_stays_close(self, model: TextModel, cache: WeightsCache, dtype: str) -> None:
        """In half precision the vectors of texts stay within cosine 0.999 of float32."""
        low = load(model.spec, cache, dtype=dtype)
        assert isinstance(low, TextModel)
        ids = model.tokenize(TEXTS).ids
        with torch.inference_mode():
            got, wanted = low.encode_text(ids), model.encode_text(ids)
        assert got.dtype == low.dtype
        assert torch.cosine_similarity(got.float(), wanted).min() >= 0.999


class TestOpenAIClip(TextContract):
    def spec(self, tiny: TinyModels) -> ModelSpec:
        return tiny.openai_clip

    def upstream(self, spec: ModelSpec, path: Path) -> tuple[Any, Any]:
        import clip

        module, preprocess = clip.load(str(path), device="cpu")
        return preprocess, module.encode_image

    def upstream_text(self, spec: ModelSpec, path: Path, texts: list[str]) -> torch.Tensor:
        import clip

        module, _ = clip.load(str(path), device="cpu")
        with torch.inference_mode():
            return module.encode_text(clip.tokenize(texts, context_length=16))

    def test_an_archive_that_is_not_pinned_is_refused(self, tiny: TinyModels, cache: WeightsCache) -> None:
        """A TorchScript archive with no sha256, or only its first digits, is not loaded."""
        file = cache.fetch(tiny.openai_clip.weights)
        for sha256 in (None, file.sha256[:8]):
            spec = replace(tiny.openai_clip, weights=WeightsSource(f"file:{file.path}", sha256=sha256))
            with pytest.raises(WeightsRefused, match="pinned"):
                load(spec, cache)

    def test_a_plain_state_dict_needs_no_pin(
        self, model: EmbeddingModel, tmp_path: Path, pictures: list[Image.Image]
    ) -> None:
        """The same weights as a state dict load without a pin and give the same vectors."""
        path = tmp_path / "plain.pt"
        torch.save(model.module.state_dict(), path)
        spec = replace(model.spec, weights=WeightsSource(f"file:{path}"))
        plain = load(spec, WeightsCache(tmp_path / "other"))
        pixels = model.reference_preprocess(pictures[0])[None]
        assert torch.equal(plain.encode_image(pixels), model.encode_image(pixels))


class TestOpenClip(TextContract):
    def spec(self, tiny: TinyModels) -> ModelSpec:
        return tiny.open_clip

    def upstream(self, spec: ModelSpec, path: Path) -> tuple[Any, Any]:
        import open_clip

        module, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(path))
        return preprocess, module.eval().encode_image

    def upstream_text(self, spec: ModelSpec, path: Path, texts: list[str]) -> torch.Tensor:
        import open_clip

        module, _, _ = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(path))
        with torch.inference_mode():
            return module.eval().encode_text(open_clip.get_tokenizer("tiny-clip")(texts))

    def test_own_normalisation_is_used(self, tiny: TinyModels, cache: WeightsCache) -> None:
        """`mean` and `std` of a person's own model replace upstream's, in the reference transform too."""
        model = load(replace(tiny.open_clip, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)), cache)
        white = model.reference_preprocess(Image.new("RGB", (64, 64), "white"))
        assert model.preprocessing.mean == (0.1, 0.2, 0.3)
        assert white[:, 0, 0].tolist() == pytest.approx([0.9 / 0.4, 0.8 / 0.5, 0.7 / 0.6], rel=1e-5)

    def test_the_other_activation_gives_other_vectors(
        self, model: EmbeddingModel, cache: WeightsCache, pictures: list[Image.Image]
    ) -> None:
        """QuickGELU or not shows: `openai` and `laion400m` ViT-B-32 resolve to the architecture that has it."""
        import open_clip

        for tag in ("openai", "laion400m_e32"):
            assert catalog.get(f"open_clip:ViT-B-32/{tag}").architecture == "ViT-B-32-quickgelu"
        assert catalog.get("open_clip:ViT-B-32/laion2b_s34b_b79k").architecture == "ViT-B-32"
        path = str(cache.path_of(model.spec.weights))
        wrong = open_clip.create_model("tiny-clip", pretrained=path, force_quick_gelu=True).eval()
        pixels = model.reference_preprocess(pictures[0])[None]
        assert not torch.allclose(wrong.encode_image(pixels), model.encode_image(pixels), rtol=1e-3)


class TestTorchvision(BackendContract):
    def spec(self, tiny: TinyModels) -> ModelSpec:
        return tiny.torchvision

    def upstream(self, spec: ModelSpec, path: Path) -> tuple[Any, Any]:
        import torchvision.models as upstream

        module = upstream.get_model(spec.architecture)
        module.load_state_dict(torch.load(path, weights_only=True))
        seen: list[torch.Tensor] = []
        last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
        last.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))

        def encode(pixels: torch.Tensor) -> torch.Tensor:
            module.eval()(pixels)
            return seen.pop()

        return upstream.get_model_weights(spec.architecture).IMAGENET1K_V1.transforms(), encode

    @pytest.mark.parametrize(("architecture", "dim"), [("mobilenet_v3_small", 1024), ("mnasnet0_5", 1280)])
    def test_other_families_too(self, tmp_path: Path, architecture: str, dim: int) -> None:
        """The features are the input of the last linear layer, whatever the family calls it."""
        import torchvision.models as upstream

        module = shaken(upstream.get_model(architecture)).eval()
        spec = save_torchvision(tmp_path, architecture, module, dim=dim)
        model = load(spec, WeightsCache(tmp_path / "cache", mirrors={"*": str(tmp_path)}))
        pixels = torch.randn(1, 3, 224, 224)
        last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
        with torch.inference_mode():
            assert torch.allclose(last(model.encode_image(pixels)), module(pixels), rtol=1e-4, atol=1e-5)

    def test_squeezenet_is_pooled_before_its_convolution(self, tmp_path: Path) -> None:
        """SqueezeNet classifies by a convolution: its features are the pooled input of that."""
        import torchvision.models as upstream

        module = shaken(upstream.squeezenet1_1()).eval()
        spec = save_torchvision(tmp_path, "squeezenet1_1", module, dim=512)
        model = load(spec, WeightsCache(tmp_path / "cache", mirrors={"*": str(tmp_path)}))
        pixels = torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            assert torch.allclose(
                model.encode_image(pixels), module.features(pixels).mean((2, 3)), rtol=1e-4, atol=1e-5
            )

    def test_old_densenet_names_are_understood(self, tmp_path: Path) -> None:
        """Published DenseNet files say `norm.1` where the module says `norm1`; they load."""
        import torchvision.models as upstream

        module = shaken(upstream.densenet121()).eval()
        old = {n.replace("norm1", "norm.1").replace("conv2", "conv.2"): t for n, t in module.state_dict().items()}
        assert old.keys() != module.state_dict().keys()
        torch.save(old, tmp_path / "old.pth")
        spec = replace(catalog.get("densenet121"), weights=WeightsSource(f"file:{tmp_path / 'old.pth'}"))
        pixels = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            got = load(spec, WeightsCache(tmp_path / "cache")).encode_image(pixels)
            assert torch.allclose(module.classifier(got), module(pixels), rtol=1e-4, atol=1e-5)

    def test_training_heads_are_left_out(self, tmp_path: Path) -> None:
        """GoogLeNet loads with upstream's auxiliary heads in the file and its own rescaling of the input."""
        from torchvision.models import GoogLeNet

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = shaken(GoogLeNet(transform_input=True, init_weights=False)).eval()
        spec = save_torchvision(tmp_path, "googlenet", module, dim=1024)
        model = load(spec, WeightsCache(tmp_path / "cache", mirrors={"*": str(tmp_path)}))
        pixels = torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            assert torch.allclose(module.fc(model.encode_image(pixels)), module(pixels), rtol=1e-4, atol=1e-5)


class TestTimm(BackendContract):
    def spec(self, tiny: TinyModels) -> ModelSpec:
        return tiny.timm

    def upstream(self, spec: ModelSpec, path: Path) -> tuple[Any, Any]:
        import timm as theirs

        overlay = {"file": str(path)}
        module = theirs.create_model(spec.architecture, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
        config = theirs.data.resolve_data_config({}, model=module)
        return theirs.data.create_transform(**config), module.eval()


class TestEfficientNetLite0:
    """The model that needs no download, on its real weights."""

    @pytest.fixture(scope="class")
    def model(self, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingModel:
        cache = WeightsCache(tmp_path_factory.mktemp("cache"), offline=True)
        return load(catalog.get("efficientnet_lite0"), cache)

    def test_its_tensors_sit_where_they_belong(self, tmp_path: Path) -> None:
        """Layer names of the package, put in words of timm, meet the layers that hold their tensors."""
        spec = catalog.get("efficientnet_lite0")
        file = WeightsCache(tmp_path, offline=True).fetch(spec.weights)
        theirs = torch.load(file.path, weights_only=True)
        ours = timm.load(spec, file).module.state_dict()
        for a, b in {
            "_conv_stem.weight": "conv_stem.weight",
            "_bn0.running_mean": "bn1.running_mean",
            "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
            "_blocks.3._depthwise_conv.weight": "blocks.2.0.conv_dw.weight",
            "_blocks.15._bn2.weight": "blocks.6.0.bn3.weight",
            "_bn1.running_var": "bn2.running_var",
        }.items():
            assert torch.equal(theirs[a], ours[b])

    def test_it_sees(self, model: EmbeddingModel) -> None:
        """With its own classifier put back, it calls a disc of orange on white an orange or the like, not at random."""
        path = WeightsCache(Path()).path_of(model.spec.weights)
        theirs = torch.load(path, weights_only=True)
        from torchvision.models._meta import _IMAGENET_CATEGORIES as CLASSES

        picture = _orange()
        with torch.inference_mode():
            features = model.encode_image(model.reference_preprocess(picture)[None])
            logits = features @ theirs["_fc.weight"].T + theirs["_fc.bias"]
        names = {CLASSES[i] for i in logits[0].topk(5).indices.tolist()}
        assert names & {"orange", "lemon", "ping-pong ball", "balloon", "croquet ball", "bubble"}, names


def _orange() -> Image.Image:
    from PIL import ImageDraw, ImageFilter

    picture = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(picture)
    for i in range(100):
        draw.ellipse((50 + i * 0.7, 50 + i * 0.6, 250 - i * 1.1, 250 - i * 1.2), fill=(255, 120 + i, i))
    return picture.filter(ImageFilter.GaussianBlur(2))

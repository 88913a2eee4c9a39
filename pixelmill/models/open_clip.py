"""open_clip's models: OpenAI's, LAION's and many more."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

from pixelmill.errors import SettingsError, UnknownModel, WeightsError, WeightsRefused, WeightsUnavailable, nearest
from pixelmill.images.preprocess import Preprocessing
from pixelmill.models.base import ModelSpec, TextModel, Tokens, WeightsSource, hub_source
from pixelmill.models.checkpoint.hf_clip import is_hf_clip, require_config, to_openai
from pixelmill.models.checkpoint.state_dict import fill, read_state_dict, refusing
from pixelmill.models.drafts import MODEL_CONFIG, measured_as
from pixelmill.models.meta_init import Skeleton, Uninitialised
from pixelmill.models.text_files import laid_out, text_files

if TYPE_CHECKING:
    from pixelmill.models.weights import CachedFile


class OpenClip(TextModel):
    """A model of open_clip, both towers."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """What open_clip's encode_image(normalize=False) returns, (B, dim)."""
        features: torch.Tensor = self.module.encode_image(pixels, normalize=False)  # type: ignore[operator]
        return features

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """What the tokenizer of open_clip's `get_tokenizer` gives."""
        ids: torch.Tensor = self._tokenizer(list(texts))
        return Tokens(ids, tuple(max(_length(self._tokenizer, text) - ids.shape[1], 0) for text in texts))

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """What open_clip's encode_text(normalize=False) returns, (B, dim)."""
        features: torch.Tensor = self.module.encode_text(ids, normalize=False)  # type: ignore[operator]
        return features

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            with _quiet(), _upstream_name(self.spec, self.beside) as name:
                return open_clip.get_tokenizer(name)
        except ImportError as error:
            raise WeightsError(
                f"Expected transformers, whose tokenizer {self.spec.architecture} has. It is not installed: "
                "`pip install 'pixelmill[hf]'`. Pictures can be embedded without it."
            ) from error
        except (OSError, ValueError) as error:
            raise WeightsUnavailable(
                f"Expected the tokenizer's files of {self.spec.architecture} in the cache. {str(error)[:200]} Fetch "
                "them with `pixelmill pull` where there is a network."
            ) from error


def _length(tokenizer: Any, text: str) -> int:
    """How many tokens a text has, begin and end among them, before it is cut: open_clip's tokenizers do not say."""
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    return len(tokenizer.tokenizer(text).input_ids)


def load(spec: ModelSpec, file: CachedFile) -> OpenClip:
    """The model of `spec` with the weights in `file`, on the CPU, in float32."""
    module = _build(spec, Uninitialised(), "cpu", file.beside)
    state = read_state_dict(file.path)
    if is_hf_clip(state):
        require_config(file.beside, file.path)
        state = to_openai(state)
    with refusing(spec.architecture, file.path):
        state = _converted(module, state)
    fill(module, state, file.path)
    return _model(spec, module, weights_sha256=file.sha256, beside=file.beside)


def instantiate(spec: ModelSpec) -> OpenClip:
    """The architecture of `spec` on `meta`, without weights."""
    try:
        module = _build(spec, Skeleton(), "meta")
    except RuntimeError:  # a stem that is tried with an empty picture while it is built (timm's HybridEmbed)
        module = _build(spec, torch.device("meta"), "meta")
    return _model(spec, module, weights_sha256="")


def resolve(name: str) -> ModelSpec:
    """The spec of `open_clip:<architecture>/<pretrained>`. Raises UnknownModel."""
    asked, _, tag = name.removeprefix("open_clip:").partition("/")
    config = open_clip.get_pretrained_cfg(asked, tag)
    if not config:
        known = [f"{a}/{t}" for a, t in open_clip.list_pretrained()]
        hint = nearest(f"{asked}/{tag}", known)
        raise UnknownModel(f"Expected open_clip:<architecture>/<pretrained>. Got {name!r}.{hint}")
    architecture = _activation_of(asked, config)
    cfg = open_clip.get_model_config(architecture) or {}
    draft = ModelSpec(
        name=name, backend="open_clip", architecture=architecture, pretrained=tag, dim=0, image_size=0, parameters=0,
        weights=_source(config), licence="see the model card", text=True, others=text_files(cfg),
    )  # fmt: skip
    if "hf_model_name" in cfg["text_cfg"]:  # built only where the tower's config is: what is known without it
        return replace(draft, dim=cfg["embed_dim"], image_size=cfg["vision_cfg"]["image_size"])
    return measured_as(draft, instantiate(draft))


def _activation_of(architecture: str, config: dict[str, Any]) -> str:
    """The architecture with the activation of its weights' training; open_clip only warns of the wrong one."""
    quick = bool((open_clip.get_model_config(architecture) or {}).get("quick_gelu", False))
    if quick == bool(config.get("quick_gelu", False)):
        return architecture
    other = architecture.removesuffix("-quickgelu") if quick else f"{architecture}-quickgelu"
    if open_clip.get_model_config(other) is None:
        raise UnknownModel(f"Expected {other!r} in open_clip, which these weights were trained as. It is not there.")
    return other


def _source(config: dict[str, Any]) -> WeightsSource:
    if not config.get("hf_hub"):
        return WeightsSource(config["url"])
    repo, _, file = config["hf_hub"].rpartition("/")
    return hub_source(repo) if not file else WeightsSource(f"https://huggingface.co/{repo}/resolve/main/{file}")


def configuration(spec: ModelSpec) -> dict[str, Any] | None:
    """open_clip's model_config of a spec: the person's own, or the architecture's built-in one; None if unknown."""
    own = dict(spec.options).get(MODEL_CONFIG)
    found: dict[str, Any] | None = (
        json.loads(str(own))["model_cfg"] if own else open_clip.get_model_config(spec.architecture)
    )
    return found


@contextmanager
def _upstream_name(spec: ModelSpec, beside: Iterable[Path] = ()) -> Iterator[str]:
    """What open_clip calls the architecture: its name, or a folder for what is not, or not wholly, open_clip's own."""
    own = json.loads(str(dict(spec.options).get(MODEL_CONFIG, "{}")))
    cfg = configuration(spec) or {}
    if not own and not text_files(cfg):
        yield spec.architecture
        return
    with laid_out(cfg, own.get("preprocess_cfg") or {}, beside) as name:
        yield name


def _build(spec: ModelSpec, mode: AbstractContextManager[Any], device: str, beside: Iterable[Path] = ()) -> Any:
    if configuration(spec) is None:
        hint = nearest(spec.architecture, open_clip.list_models())
        raise SettingsError(f"Expected an architecture of open_clip. Got {spec.architecture!r}.{hint}")
    with mode, _quiet(), _upstream_name(spec, beside) as name:
        # load_weights is off and pretrained empty: the weights come from our verified file, never from a download.
        module = open_clip.create_model(
            name, pretrained=None, load_weights=False, pretrained_text=False, device=device,
            force_image_size=dict(spec.options).get("force_image_size"), force_preprocess_cfg=_preprocess_cfg(spec),
        )  # fmt: skip
    return module.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from saying on the root logger that the model is random (it is about to be filled).

    The handler keeps `logging.warning` from configuring logging for the whole process.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_not_random)
    try:
        yield
    finally:
        root.removeFilter(_not_random)
        root.removeHandler(handler)


def _not_random(record: logging.LogRecord) -> bool:
    told = record.getMessage()
    return "No pretrained weights loaded" not in told and "no CLIP weights found in" not in told


def _preprocess_cfg(spec: ModelSpec) -> dict[str, Any]:
    config = open_clip.get_pretrained_cfg(spec.architecture, spec.pretrained) if spec.pretrained else {}
    own = {"mean": spec.mean, "std": spec.std}
    found: dict[str, Any] = merge_preprocess_dict(config, {key: value for key, value in own.items() if value})
    return {key: value for key, value in found.items() if key != "size"}


def _converted(module: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The conversions of open_clip/factory.py's load_checkpoint, which itself would read a pickle with less care."""
    state = dict(convert_state_dict(module, state))
    if "positional_embedding" in state and not hasattr(module, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        if name in state and getattr(module, name, None) is not None:
            state[name] = state[name].reshape(getattr(module, name).shape)
    if "logit_bias" not in state and module.logit_bias is not None:
        state["logit_bias"] = torch.zeros_like(state["logit_scale"])
    state.pop("text.transformer.embeddings.position_ids", None)
    resize_pos_embed(state, module)
    resize_text_pos_embed(state, module)
    return state


def _model(spec: ModelSpec, module: Any, *, weights_sha256: str, beside: tuple[Path, ...] = ()) -> OpenClip:
    config = PreprocessCfg(**module.visual.preprocess_cfg)
    return OpenClip(
        spec, module, _preprocessing(spec, config), image_transform_v2(config, is_train=False),
        weights_sha256=weights_sha256, beside=beside,
        activation="quick_gelu" if (configuration(spec) or {}).get("quick_gelu") else "gelu",
    )  # fmt: skip


def _preprocessing(spec: ModelSpec, config: Any) -> Preprocessing:
    side = config.size if isinstance(config.size, int) else config.size[0]
    if config.resize_mode not in ("shortest", "squash"):
        raise WeightsRefused(f"Expected resizing by the shorter edge or both. {spec.name} wants {config.resize_mode}.")
    return Preprocessing(
        image_size=side,
        resize=side,
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=config.interpolation,
        resize_mode=config.resize_mode,
    )

"""Models by their repository on Hugging Face's hub, pinned to a commit: `hf-hub:<owner>/<name>@<commit>`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pixelmill.errors import UnknownModel, WeightsRefused
from pixelmill.models.base import HUB, ModelSpec, WeightsSource
from pixelmill.models.drafts import MODEL_CONFIG, canonical
from pixelmill.models.own import measured
from pixelmill.models.text_files import text_files
from pixelmill.models.weights import WeightsCache

PREFIX: Final = "hf-hub:"
_CONFIGS: Final = ("open_clip_config.json", "config.json")


def hub_spec(name: str, cache: WeightsCache) -> ModelSpec:
    """The spec of an OpenCLIP or timm repository; its config is fetched through `cache`.

    Raises UnknownModel for a name without a whole commit, WeightsError where the config cannot be fetched, and
    WeightsRefused for one of another library.
    """
    found = re.fullmatch(r"hf-hub:([\w-][\w.-]*/[\w-][\w.-]*)@([0-9a-f]{40})", name)
    if not found:
        raise UnknownModel(
            f"Expected hf-hub:<owner>/<name>@<commit> with all 40 digits of the commit, which the repository's page "
            f"shows under History: a branch moves, and a matrix must not. Got {name!r}."
        )
    base = f"{HUB}/{found[1]}/resolve/{found[2]}"
    files = [cache.fetch_if_there(WeightsSource(f"{base}/{file}", optional=True)) for file in _CONFIGS]
    present = {file.path.name: _read(file.path) for file in files if file}
    if "model_cfg" in present.get("open_clip_config.json", {}):
        return _open_clip(name, base, present["open_clip_config.json"])
    if "pretrained_cfg" in present.get("config.json", {}):
        return _timm(name, base, present["config.json"])
    raise WeightsRefused(
        f"Expected the open_clip_config.json of OpenCLIP or the config.json of timm in {base}. Found "
        f"{' and '.join(present) or 'neither'}. Of Hugging Face's CLIPModel, make a [models.NAME] of the settings."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise WeightsRefused(f"Expected JSON in {path}. It cannot be read: {error}.") from error
    return found if isinstance(found, dict) else {}


def _open_clip(name: str, base: str, config: dict[str, Any]) -> ModelSpec:
    architecture, text = canonical(name.removeprefix(PREFIX).partition("@")[0].rpartition("/")[2], config)
    others = text_files(config["model_cfg"])
    draft = ModelSpec(
        name=name, backend="open_clip", architecture=architecture, pretrained=name.partition("@")[2], dim=0,
        image_size=0, parameters=0, licence="see the model card", text=True, options=((MODEL_CONFIG, text),),
        weights=WeightsSource(
            f"{base}/open_clip_model.safetensors", alternative=f"{base}/open_clip_pytorch_model.bin"
        ),
        others=others,
    )  # fmt: skip
    if "hf_model_name" in config["model_cfg"].get("text_cfg", {}):
        cfg = config["model_cfg"]
        return replace(draft, dim=cfg["embed_dim"], image_size=cfg["vision_cfg"]["image_size"])
    return measured(draft)


def _timm(name: str, base: str, config: dict[str, Any]) -> ModelSpec:
    options = (("pretrained_cfg", json.dumps(config["pretrained_cfg"], sort_keys=True)),)
    draft = ModelSpec(
        name=name, backend="timm", architecture=config["architecture"], pretrained=name.partition("@")[2], dim=0,
        image_size=0, parameters=0, licence=config["pretrained_cfg"].get("license") or "see the model card",
        options=options,
        weights=WeightsSource(f"{base}/model.safetensors", alternative=f"{base}/pytorch_model.bin"),
    )  # fmt: skip
    return measured(draft)

"""The files of Hugging Face's hub that a text tower of open_clip needs beside its weights: a tokenizer's, a config."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pixelmill.errors import WeightsUnavailable
from pixelmill.models.base import HUB, WeightsSource

TOKENIZER: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json",
    "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
)  # fmt: skip
"""What a tokenizer of transformers may consist of; no repository has all of them."""


def text_files(model_cfg: Mapping[str, Any]) -> tuple[WeightsSource, ...]:
    """What open_clip would fetch from the hub for the text tower of a model_config; nothing for its own tokenizers."""
    text = model_cfg.get("text_cfg") or {}
    tokenizer, tower = text.get("hf_tokenizer_name"), text.get("hf_model_name")
    found = [WeightsSource(f"{HUB}/{tokenizer}/resolve/main/{file}", optional=True) for file in TOKENIZER if tokenizer]
    return (*([WeightsSource(f"{HUB}/{tower}/resolve/main/config.json")] if tower else []), *found)


@contextmanager
def laid_out(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], beside: Iterable[Path]) -> Iterator[str]:
    """What open_clip calls a model_config whose files are on this machine: a folder as `push_to_hf_hub` makes it, while
    the block lasts, so that the hub is not asked. Raises WeightsUnavailable where a tower's config is missing."""
    cfg, beside = copy.deepcopy(dict(model_cfg)), list(beside)
    text = cfg.get("text_cfg") or {}
    with TemporaryDirectory(prefix="pixelmill-open-clip-") as name:
        folder = Path(name)
        for file in _of(text.get("hf_tokenizer_name"), beside):
            (folder / file.name).symlink_to(file)
        if tower := text.get("hf_model_name"):
            config = next((file for file in _of(tower, beside) if file.name == "config.json"), None)
            if config is None:
                raise WeightsUnavailable(
                    f"Expected the config.json of {tower} in the cache, which says what the text tower is. Fetch it "
                    "with `pixelmill pull` where there is a network."
                )
            (folder / "text").mkdir()
            (folder / "text" / "config.json").symlink_to(config)
            text["hf_model_name"] = str(folder / "text")
        whole = {"model_cfg": cfg, "preprocess_cfg": dict(preprocess_cfg)}
        (folder / "open_clip_config.json").write_text(json.dumps(whole), "utf-8")
        yield f"local-dir:{folder}"


def _of(repository: str | None, beside: Iterable[Path]) -> Iterator[Path]:
    return (file for file in beside if repository and f"/{repository}/resolve/" in file.as_posix())

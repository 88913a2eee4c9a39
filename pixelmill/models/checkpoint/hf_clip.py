"""Hugging Face's `CLIPModel` files under OpenAI's names, which the backends' own architectures take.

The mapping is that of transformers' models/clip/convert_clip_original_pytorch_to_hf.py, the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pixelmill.errors import WeightsRefused

if TYPE_CHECKING:
    import torch

_WHOLE: Final = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
}
_TURNED: Final = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
"""Linear layers here, matrices that are multiplied from the right there."""
_LAYERS: Final = (
    (r"text_model\.final_layer_norm", "ln_final"),
    (r"vision_model\.pre_layrnorm", "visual.ln_pre"),
    (r"vision_model\.post_layernorm", "visual.ln_post"),
    (r"text_model\.encoder\.layers", "transformer.resblocks"),
    (r"vision_model\.encoder\.layers", "visual.transformer.resblocks"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"self_attn\.", "attn."),
)
_UNUSED: Final = re.compile(r"(text|vision)_model\.embeddings\.position_ids")
_QUERY: Final = re.compile(r"attn\.q_proj\.(weight|bias)$")


def is_hf_clip(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are the tensors of a `CLIPModel`, both towers."""
    return {"visual_projection.weight", "text_projection.weight"} <= state.keys()


def to_openai(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under OpenAI's names; those that are unknown keep theirs, to be refused by these."""
    import torch

    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name in _TURNED:
            renamed[_TURNED[name]] = tensor.T.contiguous()
        elif not _UNUSED.fullmatch(name):
            renamed[_WHOLE.get(name) or _layer(name)] = tensor
    for name in [name for name in renamed if _QUERY.search(name)]:
        kind = name.rpartition(".")[2]
        three = [renamed.pop(name.replace("q_proj", f"{which}_proj")) for which in "qkv"]
        renamed[name.replace(f"q_proj.{kind}", f"in_proj_{kind}")] = torch.cat(three)
    return renamed


def _layer(name: str) -> str:
    for pattern, ours in _LAYERS:
        name = re.sub(pattern, ours, name)
    return name


def require_config(beside: Iterable[Path], path: Path) -> None:
    """Refuse the file in `path` unless config.json is among the files `beside` it: its tensors do not tell with which
    activation it was trained, and with the wrong one every vector is wrong."""
    if not any(file.name == "config.json" for file in beside):
        raise WeightsRefused(
            f"Expected config.json beside {path}: of Hugging Face's CLIP it says with which activation it was trained."
            " It is not there; take it from the same repository or from `save_pretrained`."
        )

"""A person's own head: a linear one or an MLP in a safetensors file, read as tensors only, its shapes checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pixelmill.errors import PixelmillError
from pixelmill.heads.head import MOST_LABELS
from pixelmill.heads.scorer import Layer, Scorer, layer

_MOST_BYTES: Final = 512 << 20
_DTYPES: Final = {"F16", "F32", "F64"}
_LAYER: Final = re.compile(r"layers\.(\d{1,4})\.(weight|bias)")
_TENSORS: Final = "`weight` and `bias`, or `layers.N.weight` and `layers.N.bias` with a ReLU between them"


class HeadRefused(PixelmillError, ValueError):
    """A file that is no head for the vectors of its model."""


def read_head(file: Path) -> bytes:
    """The bytes of a head's file. Raises HeadRefused for one that is too large, OSError."""
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise HeadRefused(f"Expected a head of at most {_MOST_BYTES >> 20} MiB. {file} is larger.")
    return content


def scorer_of(file: Path, content: bytes, dim: int, *, normalize: bool) -> Scorer:
    """The head in the bytes of a file, for vectors of `dim`. Raises HeadRefused, which names file, tensor and shape."""
    tensors, told = _tensors(file, content)
    layers = _layers(file, tensors)
    inputs = dim
    for name, (weight, bias) in layers.items():
        _require_shape(file, f"{name}weight", weight, (None, inputs))
        _require_shape(file, f"{name}bias", bias, (len(weight),))
        inputs = len(weight)
    return Scorer(_labels(file, told, inputs), tuple(layers.values()), normalize)


def metadata_of(file: Path, content: bytes) -> dict[str, str]:
    """What stands beside the tensors. Raises HeadRefused."""
    return _tensors(file, content)[1]


def _tensors(file: Path, content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What safetensors says: tensors by name, and its metadata."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        told = header.pop("__metadata__", {})
        for name, of in header.items():
            if of["dtype"] not in _DTYPES:
                raise HeadRefused(f"Expected F16, F32 or F64 in {file}. Got {of['dtype']} in {name}.")
        return load(content), told
    except HeadRefused:
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise HeadRefused(
            f"Expected a safetensors file with {_TENSORS}. {file} is none: `safetensors.torch.save_file` saves tensors "
            "of PyTorch's as one."
        ) from error


def _layers(file: Path, tensors: dict[str, NDArray[Any]]) -> dict[str, Layer]:
    """The layers by how the names of their tensors begin, in order."""
    numbers = {int(found[1]) for name in tensors if (found := _LAYER.fullmatch(name))}
    begins = [f"layers.{number}." for number in sorted(numbers)] if "weight" not in tensors else [""]
    known = {f"{begin}{what}" for begin in begins for what in ("weight", "bias")}
    if not begins or not tensors.keys() <= known or not all(f"{begin}weight" in tensors for begin in begins):
        got = ", ".join(sorted(tensors)[:8]) or "none"
        raise HeadRefused(f"Expected tensors called {_TENSORS} in {file}. Got {got}.")
    for begin in begins:
        if tensors[f"{begin}weight"].ndim != 2:
            _require_shape(file, f"{begin}weight", tensors[f"{begin}weight"], (None, None))
    return {begin: layer(tensors[f"{begin}weight"], tensors.get(f"{begin}bias")) for begin in begins}


def _require_shape(file: Path, name: str, tensor: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    fits = len(tensor.shape) == len(shape) and all(
        want in (None, got) for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("outputs" if want is None else str(want) for want in shape)
        got = ", ".join(map(str, tensor.shape))
        raise HeadRefused(f"Expected {name} of shape ({wanted}) in {file}. Got ({got}).")


def _is_label(one: object) -> bool:
    """Whether it is a text that a column can hold."""
    return (
        isinstance(one, str)
        and 0 < len(one) <= 256
        and "\0" not in one
        and one.encode(errors="replace").decode() == one
    )


def _labels(file: Path, told: dict[str, str], outputs: int) -> tuple[str, ...]:
    """Those of the metadata: a list as JSON."""
    try:
        labels = json.loads(told["labels"])
    except (KeyError, TypeError, ValueError, RecursionError):
        labels = None
    if (
        not isinstance(labels, list)
        or not all(map(_is_label, labels))
        or len(set(labels)) != len(labels)
        or len(labels) > MOST_LABELS
    ):
        raise HeadRefused(
            f"Expected the labels of {file} in its metadata, each once: `labels` is a list of texts as JSON, one for "
            f"each output. Got {told.get('labels', 'none')!s:.80}."
        )
    if len(labels) != outputs:
        raise HeadRefused(f"Expected {outputs} labels in {file}, one for each output. Got {len(labels)}.")
    return tuple(labels)

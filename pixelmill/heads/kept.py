"""The layers of heads that take a while to make, kept in the store: a night with one new picture loads no text tower.

STORE/heads/<name>.safetensors   the sha256 of what follows, then safetensors: layers, labels, the head's fingerprint
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from pixelmill.errors import StoreError
from pixelmill.heads.of_file import HeadRefused, metadata_of, read_head, scorer_of
from pixelmill.heads.scorer import Scorer
from pixelmill.search.projection import FOLDER
from pixelmill.store.durable import make_folder_durably, remove_halves, write_durably

_DIGEST: Final = 32


def kept(store: Path, name: str, fingerprint: str, dim: int) -> Scorer | None:
    """What is kept of the head of that fingerprint; None where that is another one, or damaged."""
    file = _file(store, name)
    try:
        content = read_head(file)
        digest, content = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(content).digest() != digest or metadata_of(file, content).get("fingerprint") != fingerprint:
            return None
        return scorer_of(file, content, dim, normalize=True)
    except (OSError, HeadRefused):
        return None


def keep(store: Path, name: str, fingerprint: str, scorer: Scorer) -> None:
    """Keep the layers of a head over vectors of length 1. Where there is no room for them, they are made again."""
    from safetensors.numpy import save

    tensors = {
        f"layers.{number}.{what}": tensor
        for number, layer in enumerate(scorer.layers) for what, tensor in zip(("weight", "bias"), layer, strict=True)
    }  # fmt: skip
    content = save(tensors, {"fingerprint": fingerprint, "labels": json.dumps(scorer.labels)})
    with suppress(OSError, StoreError):
        make_folder_durably(store / FOLDER)
        write_durably(_file(store, name), hashlib.sha256(content).digest() + content)


def forget_layers(store: Path) -> None:
    """Delete the layers of all heads, which hold something of each picture that they were learnt from; the next run
    makes them again. The projections of matrices stay (`search/projection.py`). Raises OSError."""
    for file in (store / FOLDER).glob("*.safetensors"):
        if "." not in file.stem:
            file.unlink(missing_ok=True)
    remove_halves(store / FOLDER)


def _file(store: Path, name: str) -> Path:
    return store / FOLDER / f"{name}.safetensors"

"""Which published weights there are: the catalog, and all that open_clip, timm and torchvision list beyond it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from pixelmill import catalog

_FLOAT32: Final = 4


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


def search(words: Sequence[str]) -> list[Published]:
    """The names that hold all the words, whatever their case; the catalog's first, then in the libraries' order."""
    wanted = [word.lower() for word in words]
    return [one for one in everything() if all(word in one.name.lower() for word in wanted)]


def everything() -> list[Published]:
    """The catalog and, from the table, every published weight beyond it (tables/pretrained.py writes it)."""
    known = [
        _published(spec.name, spec.dim, spec.image_size, spec.parameters, spec.licence, spec.weights.bytes)
        for spec in catalog.all_models()
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

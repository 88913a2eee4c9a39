"""`[heads.NAME]`: labels and scores, from stored vectors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from pixelmill import catalog
from pixelmill.deliver.delivery import OWN
from pixelmill.errors import nearest
from pixelmill.heads.head import KINDS, NAME, FileHead, Head, LinearHead, PcaHead, ZeroShotHead
from settings.group import IN_WORDS, Group, LocalPath

MOST_HEADS: Final = 64
_TAKEN: Final = frozenset({*OWN, "width", "height", "bytes", "modified", "folder"})
"""What conditions and deliveries call by these names."""
_WORDS: Final = "zero_shot, linear, file or pca"


def _absolute(path: Path) -> Path:
    return path.absolute()


_File = Annotated[LocalPath, AfterValidator(_absolute)]


class ZeroShotSettings(ZeroShotHead, Group):
    """Labels and prompts, over the vectors of a `model` that has a text tower."""


class LinearSettings(LinearHead, Group):
    """A classifier that is learnt from a `column` of labels, from `examples` by label (rows, sha256 or paths), or from
    a CSV of them, `examples_file`."""

    examples_file: _File | None = None


class FileSettings(FileHead, Group):
    """A head of one's own in a safetensors `file`."""

    file: _File


class PcaSettings(PcaHead, Group):
    """The vectors of a `model` in `components` dims, a matrix of its own."""


def _of_known_kind(given: Any) -> Any:
    kind = given.get("kind") if isinstance(given, dict) else None
    if isinstance(given, dict) and kind not in KINDS:
        raise _in_words(f"Got {kind!r}.{nearest(str(kind), KINDS)}" if "kind" in given else "It is missing")
    return given


def _in_words(why: str) -> PydanticCustomError:
    return PydanticCustomError(IN_WORDS, "{why}", {"why": f"Expected kind = {_WORDS}. {why}".rstrip(".")})


HeadSettings = Annotated[
    Annotated[ZeroShotSettings | LinearSettings | FileSettings | PcaSettings, Field(discriminator="kind")],
    BeforeValidator(_of_known_kind),
]
BY_KIND: Final[dict[str, type[BaseModel]]] = {
    "zero_shot": ZeroShotSettings, "linear": LinearSettings, "file": FileSettings, "pca": PcaSettings
}  # fmt: skip


def of_good_names(heads: dict[str, HeadSettings]) -> dict[str, HeadSettings]:
    """Raises ValueError for a name that no column can have, or of which another differs in nothing but its case."""
    for name in heads:
        if name.lower() in _TAKEN:
            raise ValueError(f"Expected a name that is free. {name!r} means something else in every store")
        if not re.fullmatch(NAME, name):
            raise ValueError(f"Expected a name of letters, digits and _, a letter first, at most 40. Got {name!r}")
        if [other.lower() for other in heads].count(name.lower()) > 1:
            raise ValueError(f"Expected names that differ in more than capital letters. Got {name!r} twice")
        if isinstance(heads[name], PcaHead) and name in catalog.names():
            raise ValueError(f"Expected a name that no model has. Got {name!r}")
    if len(heads) > MOST_HEADS:
        raise ValueError(f"Expected at most {MOST_HEADS} heads. Got {len(heads)}")
    return heads


def as_heads(given: dict[str, HeadSettings]) -> dict[str, Head]:
    """As a run takes them."""
    one: TypeAdapter[Head] = TypeAdapter(Head)
    return {name: one.validate_python(head.model_dump()) for name, head in given.items()}

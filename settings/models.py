"""`[models.NAME]`: a person's own checkpoints."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat

from pixelmill.models.base import BackendName
from pixelmill.models.fetch.mirrors import without_login
from settings.group import Group, as_local, in_words

_Width = Annotated[FiniteFloat, Field(gt=0)]
Channels = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Widths = tuple[_Width, _Width, _Width]
_ADDRESS = re.compile("https?://|file:")


def _place(checkpoint: str) -> str:
    """An address that holds no password, or a path with `~` as a home folder."""
    return in_words(without_login, checkpoint) if _ADDRESS.match(checkpoint) else str(as_local(checkpoint))


class OwnModel(Group):
    """An upstream architecture with a checkpoint of one's own. `checkpoint` is a local path or an http(s) URL."""

    backend: BackendName
    architecture: str
    checkpoint: Annotated[str, AfterValidator(_place)]
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    image_size: int | None = Field(None, ge=1)
    mean: Channels | None = None
    std: Widths | None = None
    device: str | None = None

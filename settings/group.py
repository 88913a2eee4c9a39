"""What every group of settings has in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from pixelmill.errors import SettingsError
from pixelmill.paths import local_path

NO_PATH = "no_path"
"""The kind of error that says itself what was given."""


def as_local(given: str | os.PathLike[str]) -> Path:
    """`local_path` for a validator."""
    try:
        return local_path(given)
    except ValueError as error:
        raise PydanticCustomError(NO_PATH, "{why}", {"why": str(error)}) from error


def _local(given: object) -> object:
    return as_local(given) if isinstance(given, str | os.PathLike) else given


LocalPath = Annotated[Path, BeforeValidator(_local)]
"""A path on this machine; `~` is a home folder."""


def cache_folder(name: str) -> Path:
    """Where a cache is kept unless the settings say otherwise (the XDG Base Directory Specification)."""
    try:
        return local_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "pixelmill" / name
    except ValueError as error:
        raise SettingsError(f"{error}, or XDG_CACHE_HOME to where {name} can be kept.") from error


class Group(BaseModel):
    """A group of settings: frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""What every group of settings has in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from pixelmill.paths import local_path

IN_WORDS = "in_words"
"""The kind of error that says itself what was given, or leaves it out."""
Given = TypeVar("Given")
Kept = TypeVar("Kept")


def in_words(check: Callable[[Given], Kept], given: Given) -> Kept:
    """What `check` makes of a value, for a validator; the words of its ValueError are all that is said."""
    try:
        return check(given)
    except ValueError as error:
        raise PydanticCustomError(IN_WORDS, "{why}", {"why": str(error).rstrip(".")}) from error


def as_local(given: str | os.PathLike[str]) -> Path:
    """`local_path` for a validator."""
    return in_words(local_path, given)


def _local(given: object) -> object:
    return as_local(given) if isinstance(given, str | os.PathLike) else given


LocalPath = Annotated[Path, BeforeValidator(_local)]
"""A path on this machine; `~` is a home folder."""


class Group(BaseModel):
    """A group of settings: frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""`[weights]`: where model weights are kept and where they come from."""

from __future__ import annotations

from functools import partial

from pydantic import Field, field_validator

from pixelmill.models.fetch.mirrors import checked_mirrors
from pixelmill.paths import cache_folder
from settings.group import Group, LocalPath, in_words


class WeightsSettings(Group):
    """`mirrors` maps an upstream host ("huggingface.co", "*" for every one) to an http(s) address or a folder; one
    address or folder alone, such as a bundle, is the mirror of every host."""

    cache_dir: LocalPath = Field(default_factory=partial(cache_folder, "weights"))
    mirrors: dict[str, str] | str = Field(default_factory=dict)
    offline: bool = False

    @field_validator("mirrors")
    @classmethod
    def _mapped(cls, given: dict[str, str] | str) -> dict[str, str]:
        return in_words(checked_mirrors, given)

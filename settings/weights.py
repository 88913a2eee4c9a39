"""`[weights]`: where model weights are kept and where they come from."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from settings.group import Group


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pixelmill" / "weights"


class WeightsSettings(Group):
    """`mirrors` maps an upstream host ("huggingface.co", "*" for every one) to an http(s) address or a folder."""

    cache_dir: Path = Field(default_factory=_default_cache)
    mirrors: dict[str, str] = Field(default_factory=dict)
    offline: bool = False

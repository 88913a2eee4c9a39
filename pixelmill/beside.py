"""Where the packages `settings`, `tasks` and `flows` are, and who finds them there and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

NAMES: Final = ("flows", "settings", "tasks")
SHIPPED: Final = Path(__file__).parent / "_beside"
"""Where a wheel has them: nobody else comes across them there."""
ROOT: Final = SHIPPED if SHIPPED.is_dir() else Path(__file__).parents[1]


class Ours:
    """Finds them, by a wheel in a folder of their own, else beside `pixelmill`. Their modules are found by their
    packages' own paths."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)], target) if name in NAMES else None

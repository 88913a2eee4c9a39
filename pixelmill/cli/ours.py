"""The packages `settings`, `tasks` and `flows` are Pixelmill's in this process, whatever else lies on the path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

NAMES = ("flows", "settings", "tasks")
_ROOT = Path(__file__).parents[2]


class _Ours:
    """Finds them beside `pixelmill`. Their modules are found by their packages' own paths."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_ROOT)], target) if name in NAMES else None


def prefer_ours() -> None:
    """From now on. Somebody's `settings.py`, in the working directory or on PYTHONPATH, is common."""
    if _Ours not in sys.meta_path:
        sys.meta_path.insert(0, _Ours)

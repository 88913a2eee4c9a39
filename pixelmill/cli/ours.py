"""The packages `settings`, `tasks` and `flows` are Pixelmill's in this process, whatever else lies on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

NAMES = ("flows", "settings", "tasks")
_SHIPPED = Path(__file__).parents[1] / "_beside"
"""Where a wheel has them: nobody else comes across them there."""
ROOT = _SHIPPED if _SHIPPED.is_dir() else Path(__file__).parents[2]


class _Ours:
    """Finds them, by a wheel in a folder of their own, else beside `pixelmill`. Their modules are found by their
    packages' own paths."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)], target) if name in NAMES else None


def prefer_ours() -> None:
    """From now on, here and in processes that this one starts. Somebody's `settings.py`, in the working directory or on
    PYTHONPATH, is common."""
    if _Ours not in sys.meta_path:
        sys.meta_path.insert(0, _Ours)
    if ROOT == _SHIPPED:
        _tell_processes(os.environ)


def _tell_processes(environment: MutableMapping[str, str]) -> None:
    """A process of a cluster on this machine is sent functions by the names of their modules."""
    there = environment.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in there:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, there)])

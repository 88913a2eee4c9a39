"""The packages `settings`, `tasks` and `flows` are Pixelmill's in this process, whatever else lies on the path."""

from __future__ import annotations

import os
import sys

from pixelmill.beside import ROOT, SHIPPED, Ours


def prefer_ours() -> None:
    """From now on, here and in processes that this one starts. Somebody's `settings.py`, in the working directory or on
    PYTHONPATH, is common."""
    if Ours not in sys.meta_path:
        sys.meta_path.insert(0, Ours)
    if ROOT == SHIPPED:
        _hand_on(str(ROOT))


def _hand_on(root: str) -> None:
    """Processes of a local cluster have no finder, and unpickle functions of `tasks`: Dask's get this one's path, Ray's
    its environment."""
    if root not in sys.path:
        sys.path.insert(0, root)
    there = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in there:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, there)])

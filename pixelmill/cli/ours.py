"""The packages `settings`, `tasks` and `flows` are Pixelmill's in this process, whatever else lies on the path."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from pixelmill.beside import ROOT, SHIPPED, Ours


def prefer_ours() -> None:
    """From now on, here and in processes that this one starts. Somebody's `settings.py`, in the working directory or on
    PYTHONPATH, is common."""
    if Ours not in sys.meta_path:
        sys.meta_path.insert(0, Ours)
    if ROOT == SHIPPED:
        _tell_processes(os.environ)


def _tell_processes(environment: MutableMapping[str, str]) -> None:
    """A process of a cluster on this machine is sent functions by the names of their modules."""
    there = environment.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in there:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, there)])

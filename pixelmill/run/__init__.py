"""One run: scan, plan of work, who does it, what a worker does. Called, the package is the function `pixelmill.run`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pixelmill.called import CalledPackage


def _function() -> Any:
    from pixelmill.api.running import run

    return run


def _package() -> ModuleType:
    return sys.modules[__name__]


_package().__class__ = CalledPackage

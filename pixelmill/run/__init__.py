"""One run: scan, plan of work, who does it, what a worker does. Called, the package is the function `pixelmill.run`."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any


class _Run(ModuleType):
    """This package, which may be called: a function of the same name beside it would be lost, whenever somebody imports
    `pixelmill.run.…`, to the package."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _function()(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return f"{__doc__}\n\nrun{self.__signature__}\n\n{inspect.getdoc(_function())}"

    def __reduce__(self) -> Any:
        return _package, ()


def _function() -> Any:
    from pixelmill.api.running import run

    return run


def _package() -> ModuleType:
    return sys.modules[__name__]


_package().__class__ = _Run

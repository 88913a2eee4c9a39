"""Packages that can be called: a function of the same name beside one would be lost to it, whenever somebody imports a
file of the package."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any


class CalledPackage(ModuleType):
    """A package that is a function when it is called, and says so. It has two functions: `_function` imports that one
    when it is needed, and `_package` is the package for who unpickles it."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function()(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function())

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        function = self._function()
        return f"{vars(self)['__doc__']}\n\n{function.__name__}{self.__signature__}\n\n{inspect.getdoc(function)}"

    def __reduce__(self) -> Any:
        return self._package, ()

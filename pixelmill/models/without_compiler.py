"""torchvision and timm, loaded without PyTorch's compiler: nothing here compiles, and it takes longer than they do."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

_COMPILER: Final = "torch._dynamo"
_UTILS: Final = "torch._dynamo.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """In the block `torch._dynamo` is two functions that libraries use while they are imported: each comes to the real
    one when that is needed. Whatever else is asked of it loads it as ever, and so does all that comes after the block.
    """
    if _COMPILER in sys.modules:
        yield
        return
    stand_ins = (ModuleType(_COMPILER), ModuleType(_UTILS))
    package, utils = stand_ins
    package.__path__ = []
    vars(package).update(disable=_disable, utils=utils, __getattr__=functools.partial(_real, stand_ins, _COMPILER))
    vars(utils).update(is_compile_supported=_supported, __getattr__=functools.partial(_real, stand_ins, _UTILS))
    sys.modules.update({module.__name__: module for module in stand_ins})
    try:
        yield
    finally:
        _take_away(stand_ins)


def _disable(function: Callable[..., Any] | None = None, *arguments: Any, **named: Any) -> Callable[..., Any]:
    """`torch.compiler.disable`, which marks functions of timm that are not to be compiled: once somebody compiles."""
    if function is None:
        return functools.partial(_disable, **named)

    @functools.wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        compiler = vars(sys.modules[_COMPILER]) if _COMPILER in sys.modules else {}
        disable = compiler.get("disable", _disable)
        if disable is _disable:  # there is none, or what stands in for it
            return function(*args, **kwargs)
        return disable(function, *arguments, **named)(*args, **kwargs)

    return marked


def _supported(device_type: str) -> bool:
    """What torchvision asks when it pools regions of a detector."""
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _real(stand_ins: tuple[ModuleType, ...], module: str, name: str) -> Any:
    if name.startswith("__"):  # `inspect` asks every module for its file
        raise AttributeError(name)
    _take_away(stand_ins)
    import torch._dynamo.utils  # noqa: F401 - the next line finds it

    return getattr(sys.modules[module], name)


def _take_away(stand_ins: tuple[ModuleType, ...]) -> None:
    for module in stand_ins:
        if sys.modules.get(module.__name__) is module:
            del sys.modules[module.__name__]

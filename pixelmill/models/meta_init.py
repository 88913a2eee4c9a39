"""Build an upstream architecture without spending time and memory on weights that are about to be replaced."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_RANDOM = {
    getattr(owner, name)
    for owner, names in (
        (torch.nn.init, ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_")),
        (torch.nn.init, ("xavier_uniform_", "xavier_normal_", "orthogonal_")),
        (torch.Tensor, ("uniform_", "normal_", "erfinv_")),
    )
    for name in names
}


class Skeleton(TorchFunctionMode):
    """While active, in this thread only, layers get parameters without memory (device `meta`).

    torch's layers make parameters by `torch.empty`; everything else (arithmetic on a design, buffers such as masks and
    position indices) stays real, which `torch.device("meta")` would not give: RegNet cannot be built under that.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        if func in _RANDOM and (args[0] if args else kwargs["tensor"]).is_meta:
            return args[0] if args else kwargs["tensor"]  # nothing to fill, in Python as it is on `meta`
        return func(*args, **kwargs)


class Uninitialised(TorchFunctionMode):
    """While active, in this thread only, random initialisation does nothing; memory is real but its content undefined.

    For upstream builders that move the module to a device themselves, which a module on `meta` does not survive.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)

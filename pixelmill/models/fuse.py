"""Convolutions made quick to run: batch norms folded into those before them, weights with their channels last.

The same function up to rounding; docs/performance.md has what it gains.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def quicken(module: nn.Module) -> int:
    """Fold the batch norms of `module`, which is in eval mode, and lay its convolutions' weights out channels-last, as
    pixels are (`preprocess.normalize`). In place; how many batch norms were folded.

    A norm is folded if it is all that its convolution's output goes to. What cannot be traced is left as it is.
    """
    folded = _fold(module)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return folded


def _fold(module: nn.Module) -> int:
    """Fold what can be: in the whole module or, where that cannot be traced (a CLIP's two towers), in its parts."""
    if not _holds_norms(module):
        return 0
    try:
        pairs = _pairs(module)
    except Exception:  # fx raises whatever the model's own code raises at a proxy
        return sum(_fold(child) for child in module.children())
    for convolution, path in pairs:
        norm: Any = module.get_submodule(path)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, _rest(norm))
    return len(pairs)


def _holds_norms(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


class _Tracer(fx.Tracer):
    """Looks only into modules that hold a batch norm: whatever else the others do need not be traceable."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or not _holds_norms(m)


def _pairs(module: nn.Module) -> list[tuple[nn.Conv2d, str]]:
    """Each convolution whose output goes to a batch norm alone, with the path of that."""
    graph = _Tracer().trace(module)
    calls = [node for node in graph.nodes if node.op == "call_module"]
    used = [node.target for node in calls]
    pairs = []
    for node in calls:
        before = node.args[0] if node.args else None
        if not (isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1):
            continue
        convolution, norm = module.get_submodule(str(before.target)), module.get_submodule(str(node.target))
        once = used.count(node.target) == used.count(before.target) == 1
        if once and isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _is_plain(norm):
            pairs.append((convolution, str(node.target)))
    return pairs


def _is_plain(norm: nn.BatchNorm2d) -> bool:
    """Whether it is only a norm with statistics of its own: or timm's, which has an activation behind it."""
    return norm.running_mean is not None and (type(norm) is nn.BatchNorm2d or hasattr(norm, "act"))


def _rest(norm: Any) -> nn.Module:
    """What is left of a folded norm: of timm's BatchNormAct2d (timm/layers/norm_act.py) its activation."""
    return nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") else nn.Identity()

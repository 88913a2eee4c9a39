"""Which device a run uses; never another than the one asked for."""

from __future__ import annotations

import sys

from pixelmill.errors import DeviceUnavailable


def resolve_device(name: str) -> str:
    """The torch device that `auto`, `cpu`, `gpu`, `cuda` or `cuda:N` means on this machine.

    `auto` is the first GPU if there is one, else the CPU. Raises DeviceUnavailable for a GPU that is not there.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return "cpu"
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        found = f"{count} CUDA device{'s' if count != 1 else ''}"
        raise DeviceUnavailable(
            f"Expected device {name!r}. This machine has {found}"
            f"{'' if torch.version.cuda else ', and this PyTorch is built without CUDA'}. "
            "Use --device cpu or auto, or run where the GPU is."
        )
    return f"cuda:{index}"


def usable_device(name: str, *, fall_back: bool) -> tuple[str, str]:
    """The device that `name` means, and a warning: with `fall_back` the CPU stands in for a GPU that is not there.

    Raises DeviceUnavailable without.
    """
    try:
        return resolve_device(name), ""
    except DeviceUnavailable as missing:
        if not fall_back:
            raise
        return "cpu", f"{missing} The CPU does its work instead, as missing_device says."


def describe_device(device: str) -> str:
    """The device in words, such as `cuda:0 (NVIDIA H100)` or `cpu (no CUDA device found)`."""
    import torch

    if device != "cpu":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return "cpu" if torch.cuda.is_available() else "cpu (no CUDA device found)"


def free_gpu_memory() -> None:
    """Give back what PyTorch keeps in this process of freed memory on GPUs, if it uses any."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()

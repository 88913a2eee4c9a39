"""Read tensors out of a weights file without running what is in it, and put them into a module without gaps."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pixelmill.errors import WeightsRefused

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the tensors (open_clip, timm, torchvision references)."""


def is_torchscript(path: Path) -> bool:
    """Whether `path` is a TorchScript archive, which runs code while it is being loaded."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())


def is_safetensors(path: Path) -> bool:
    """Whether `path` starts like a safetensors file: length of a JSON header, then the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors or PyTorch file, on the CPU, by name.

    Raises WeightsRefused for a TorchScript archive, a pickle that would run code, a truncated file, or
    anything that does not hold tensors by name.
    """
    if is_torchscript(path):
        raise WeightsRefused(
            f"Expected safetensors or a PyTorch state dict. Got a TorchScript archive, which runs code while it loads:"
            f" {path}. Only OpenAI CLIP archives whose whole sha256 is pinned are loaded."
        )
    try:
        found = _read(path)
    except Exception as error:  # a hostile or broken file fails in many ways; each of them means: not loaded
        raise WeightsRefused(f"Expected a file of tensors only. Could not read {path}: {error}") from error
    return _tensors(found, path)


def _read(path: Path) -> object:
    import torch
    from safetensors.torch import load_file

    if is_safetensors(path):
        # Copied out of the mapped file: one written over in place would change, or kill, a model in use.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    # Said explicitly: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD turns the default off, but not this.
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(found: object, path: Path) -> dict[str, torch.Tensor]:
    import torch

    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise WeightsRefused(f"Expected tensors by name. Got {type(found).__name__} in {path}.")
    if all(name.startswith("module.") for name in found):  # left by DistributedDataParallel
        return {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return found


def fill(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put `state` into `module`, every tensor, name and shape; a gap is refused, never left at random.

    The module's own conversions of older names run (torchvision's ViT has one). The tensors are taken over
    (`assign=True`), so that weights exist once in memory, in the file's dtype.
    """
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, ValueError) as error:  # upstream lists the missing, the unexpected and the misshapen
        raise WeightsRefused(f"Expected the tensors of {type(module).__name__} in {path}. {_short(error)}") from error
    held = [*module.named_parameters(), *module.named_buffers()]
    empty = [name for name, tensor in held if tensor.is_meta]
    if empty:
        raise WeightsRefused(f"No weights for {_listed(empty)} in {path}.")


def _short(error: Exception, most: int = 1500) -> str:
    text = str(error)
    return text if len(text) <= most else f"{text[:most]} … and {len(text) - most} characters more"


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

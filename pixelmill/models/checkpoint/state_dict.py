"""Read tensors out of a weights file without running what is in it, and put them into a module without gaps."""

from __future__ import annotations

import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pixelmill.errors import PixelmillError, WeightsRefused
from pixelmill.models.checkpoint.sniff import what_instead

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict_ema", "state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the tensors (open_clip, timm, torchvision references, Lightning); where there
are two, the averaged ones come first, as timm's load_checkpoint has it."""

PREFIXES = ("module.", "_orig_mod.", "base_model.", "model.", "clip_model.", "clip.")
"""What wrappers put before every name: DistributedDataParallel, torch.compile, PEFT, Lightning and trainers' own."""

_SHARED = 2
"""How often a file's tensors may share their data, on average; a text tower's embedding is its output layer as well."""


def is_torchscript(path: Path) -> bool:
    """Whether `path` is a TorchScript archive, which runs code while it is being loaded.

    One that Python's zipfile cannot list is not; it is read as tensors only, as everything that is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, MemoryError):
        return False


def is_safetensors(path: Path) -> bool:
    """Whether `path` starts like a safetensors file: length of a JSON header, then the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors or PyTorch file, on the CPU, by name.

    Raises WeightsRefused for a TorchScript archive, a pickle that would run code, a truncated file, one that claims
    more than it holds, or anything that does not hold dense tensors without NaN by name.
    """
    if what := what_instead(path):
        raise WeightsRefused(f"Expected safetensors or a PyTorch state dict in {path}.{what}")
    if is_torchscript(path):
        raise WeightsRefused(
            f"Expected safetensors or a PyTorch state dict. Got a TorchScript archive, which runs code while it loads:"
            f" {path}. Only OpenAI CLIP archives whose whole sha256 is pinned are loaded."
        )
    try:
        _check_archive(path)
        state = _tensors(_read(path))
        _check_tensors(state, path.stat().st_size)
        _refuse_adapters(state, path)
    except WeightsRefused:
        raise
    except Exception as error:  # a hostile or broken file fails in many ways; each of them means: not loaded
        raise WeightsRefused(
            f"Expected a file of tensors only. Could not read {path}: {_plain(error)}. Nothing in it was run; "
            "ask whoever made it for safetensors, or for `torch.save(model.state_dict(), …)`."
        ) from error
    return state


def _check_archive(path: Path) -> None:
    """Raise ValueError for a zip archive that grows when it is read; torch.save compresses nothing."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise ValueError("it is a compressed archive, which torch.save never writes")
    claimed = sum(m.file_size for m in members)
    if claimed > path.stat().st_size:
        raise ValueError(f"it claims to hold {claimed:,} bytes in {path.stat().st_size:,}")


def _read(path: Path) -> object:
    import torch
    from safetensors.torch import load_file

    if is_safetensors(path):
        # Copied out of the mapped file: one written over in place would change, or kill, a model in use.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    # Said explicitly: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD turns the default off, but not this.
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(found: object) -> dict[str, torch.Tensor]:
    """The tensors by name in what was read, as plain tensors in a plain dict: a pickle may hang anything on both."""
    import torch

    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(dict.get(found, key), dict):
            found = dict.get(found, key)
    if not isinstance(found, dict):
        raise ValueError(f"expected tensors by name, got {type(found).__name__}")
    items = list(dict.items(found))
    wrong = [name for name, tensor in items if not isinstance(name, str) or not isinstance(tensor, torch.Tensor)]
    if wrong or not items:
        raise ValueError(f"expected tensors by name, got {_listed(map(repr, wrong)) or 'nothing'}")
    prefix = _common_prefix([name for name, _ in items])
    state = OrderedDict((name.removeprefix(prefix), tensor.detach()) for name, tensor in items)
    versions = vars(found).get("_metadata") if isinstance(found, OrderedDict) else None
    if isinstance(versions, dict) and not prefix:
        state._metadata = versions  # type: ignore[attr-defined]  # of each layer, for torch's own conversions
    return state


def _common_prefix(names: Sequence[str]) -> str:
    """What wrappers put before all names, one after the other."""
    prefix = ""
    while more := next((p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)), ""):
        prefix += more
    return prefix


def _refuse_adapters(state: Mapping[str, torch.Tensor], path: Path) -> None:
    adapters = [name for name in state if re.search(r"\blora_|\.base_layer\.|\bmodules_to_save\b", name)]
    if adapters:
        raise WeightsRefused(
            f"Expected the weights of a whole model in {path}. It holds an adapter that was not merged into them"
            f" ({_listed(adapters, 3)}): call `merge_and_unload()` of PEFT, or add the product of each pair of"
            " matrices to its weight, and save that."
        )


def _check_tensors(state: Mapping[str, torch.Tensor], size: int) -> None:
    """Raise ValueError for tensors that are not what they seem: without data, or with more of it than the file has."""
    import torch

    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"expected dense real numbers in {name!r}, got {tensor.dtype}, {tensor.layout}")
    stored = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in state.values() if t.numel()}
    claimed = sum(t.numel() * t.element_size() for t in state.values())
    if sum(stored.values()) > size or claimed > _SHARED * size:
        raise ValueError(f"its tensors claim {claimed:,} bytes, but the file has {size:,}")
    for name, tensor in state.items():
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise ValueError(f"{name!r} holds NaN, which would make every vector NaN")


@contextmanager
def refusing(what: str, path: Path) -> Iterator[None]:
    """Whatever upstream's own code makes of tensors that are not those of `what` becomes WeightsRefused."""
    try:
        yield
    except PixelmillError:
        raise
    except Exception as error:  # upstream indexes, reshapes and looks up by the file's own names and shapes
        raise WeightsRefused(f"Expected the tensors of {what} in {path}. {_short(error)}") from error


def fill(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put `state` into `module`, every tensor, name and shape; a gap is refused, never left at random.

    The module's own conversions of older names run (torchvision's ViT has one). The tensors are taken over
    (`assign=True`), so that weights exist once in memory, in the file's dtype.
    """
    wanted = module.state_dict()
    integers = [n for n in wanted if n in state and state[n].is_floating_point() != wanted[n].is_floating_point()]
    if integers:
        raise WeightsRefused(
            f"Expected the number types of {type(module).__name__} in {path}. {_listed(integers)} differ."
        )
    with refusing(type(module).__name__, path):  # upstream lists the missing, the unexpected and the misshapen
        module.load_state_dict(state, strict=True, assign=True)
    held = [*module.named_parameters(), *module.named_buffers()]
    empty = [name for name, tensor in held if tensor.is_meta]
    if empty:
        raise WeightsRefused(f"No weights for {_listed(empty)} in {path}.")


def _plain(error: Exception) -> str:
    """What torch says, without its advice to switch the protection off."""
    text = str(error).strip() or type(error).__name__
    called = re.search(r"GLOBAL ([\w.]+)", text)
    if called:
        return f"it is a pickle that would call {called[1]} while it is loaded"
    if text.startswith("Weights only load failed"):
        return "it is no PyTorch file, or one that holds more than tensors"
    return _short(ValueError(text.partition("\n")[0])).rstrip(".")


def _short(error: Exception, most: int = 1500) -> str:
    text = str(error) if isinstance(error, RuntimeError | ValueError) else repr(error)
    return text if len(text) <= most else f"{text[:most]} … and {len(text) - most} characters more"


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

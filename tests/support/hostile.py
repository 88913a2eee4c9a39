"""Weights files from an enemy, and a process of little memory that tries to load each with every backend.

`python -m tests.support.hostile FOLDER` prints one line of JSON a trial. What any file's code does is touch `canary`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TinyModels, make_tiny_models

MEMORY = 2**30
"""What the process may take beyond what it has when the trials begin."""
BOMB = 2**28


class Calls:
    """Pickles into a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


class Talker(torch.nn.Module):
    """TorchScript that writes to standard output while it is being loaded; it has no way to make a file."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.training = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        print("CANARY: code ran while loading")
        self.weight = state[0]
        self.training = state[1]


def files(folder: Path, canary: Path) -> dict[str, Path]:
    """Every file, by name, written into `folder`."""
    contents = {**dict(_with_code(canary)), **_safetensors(), **_pickles(), **_archives(), **_other_files()}
    made = {}
    for name, content in contents.items():
        made[name] = folder / name
        made[name].write_bytes(content)
    made["folder.pt"], made["pipe.pt"] = folder / "folder.pt", folder / "pipe.pt"
    made["folder.pt"].mkdir()
    os.mkfifo(made["pipe.pt"])
    for suffix in (".pt", ".pth", ".bin", ".safetensors"):
        made[f"script{suffix}"] = folder / f"script{suffix}"
        torch.jit.script(Talker()).save(str(made[f"script{suffix}"]))
    return made


def saved(value: object, *, old: bool = False) -> bytes:
    """What torch.save makes of it, in the new or the old format."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def _with_code(canary: Path) -> Iterator[tuple[str, bytes]]:
    calls = {
        "os.system": Calls(os.system, f"touch '{canary}'"),
        "exec": Calls(exec, f"open({str(canary)!r}, 'w')"),
        "touch": Calls(Path.touch, canary),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "import": Calls(__import__, "antigravity"),
        "torch.load": Calls(torch.load, str(canary)),
        "torch.jit.load": Calls(torch.jit.load, str(canary)),
        "hub": Calls(torch.hub.load, "stranger/model", "model"),
    }
    for name, call in calls.items():
        for old, suffix in ((False, "pth"), (True, "bin")):
            yield f"code {name}.{suffix}", saved({"weight": torch.zeros(1), "more": call}, old=old)
    yield "code named safetensors.safetensors", saved({"weight": calls["touch"]})


def _safetensors() -> dict[str, bytes]:
    def one(*, dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
        return {"dtype": dtype, "shape": shape, "data_offsets": offsets}

    def sealed(header: object, data: bytes = bytes(8), length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    twice = json.dumps({"a": one()})[1:-1].encode()
    return {
        "st overlap": sealed({"a": one(shape=[2], offsets=[0, 8]), "b": one(offsets=[4, 8])}),
        "st gap": sealed({"a": one(offsets=[4, 8])}),
        "st beyond": sealed({"a": one(shape=[200], offsets=[0, 800])}),
        "st huge": sealed({"a": one(shape=[2**40], offsets=[0, 2**42])}),
        "st overflow": sealed({"a": one(shape=[2**62, 4], offsets=[0, 8])}),
        "st twice": sealed(b"{" + twice + b"," + twice.replace(b"[0, 4]", b"[4, 8]") + b"}"),
        "st negative": sealed({"a": one(shape=[-1])}),
        "st dtype": sealed({"a": one(dtype="F99")}),
        "st size": sealed({"a": one(shape=[2], offsets=[0, 4])}, bytes(4)),
        "st long header": sealed({"a": one()}, length=2**60),
        "st deep": sealed(b'{"a":' + b"[" * 100_000),
        "st no header": sealed(b"{" + b" " * 50 + b"x"),
        "st nothing": sealed({}, b""),
        "st empty giants": sealed({"a": one(shape=[2**40, 0], offsets=[0, 0])}, b""),
    }


def _pickles() -> dict[str, bytes]:
    attributes = OrderedDict(a=torch.zeros(2))
    attributes.values, attributes.get, attributes.keys = 1, 2, 3  # type: ignore[assignment, method-assign]
    versions = OrderedDict(a=torch.zeros(2))
    versions._metadata = {"": 7, "a": "x"}  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8)
    values = {
        "list": [torch.zeros(1)],
        "nothing": {},
        "numbers": {"a": 1},
        "names": {1: torch.zeros(2), None: torch.zeros(1)},
        "attributes": attributes,
        "versions": versions,
        "sparse": {"a": torch.eye(3).to_sparse()},
        "quantized": {"a": quantized},
        "complex": {"a": torch.ones(3, dtype=torch.complex64)},
        "meta": {"a": torch.ones(3, device="meta")},
        "nan": {"a": torch.tensor([1.0, float("nan")])},
        "expanded": {"a": torch.zeros(1).expand(2**40)},
    }
    made = {f"pickle {name}": saved(value) for name, value in values.items()}
    deep = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    array = b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    old = saved(values["expanded"], old=True)
    return made | {"pickle deep": deep, "pickle giant bytearray": array, "pickle expanded old": old}


def _archives() -> dict[str, bytes]:
    whole = saved({"a": torch.zeros(4)})
    lying = bytearray(whole)
    for entry in _found(whole, b"PK\x01\x02"):  # the central directory's sizes, compressed and not
        lying[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    return {
        "zip bomb pickle": _squeezed(whole, "data.pkl"),
        "zip bomb tensor": _squeezed(whole, "data/0"),
        "zip lying sizes": bytes(lying),
        "zip of nothing": b"PK\x05\x06" + bytes(18),
    }


def _squeezed(archive: bytes, bomb: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            with target.open(name, "w") as file:
                if name.endswith(bomb):
                    for _ in range(BOMB >> 20):
                        file.write(bytes(1 << 20))
                else:
                    file.write(source.read(name))
    return buffer.getvalue()


def _found(content: bytes, mark: bytes) -> Iterator[int]:
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


def _other_files() -> dict[str, bytes]:
    whole = saved({"a": torch.zeros(1000)})
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    return {
        "empty": b"",
        "page": b"\n <!DOCTYPE html>\n<html><body>Please log in</body></html>",
        "pointer": pointer,
        "gzip": gzip.compress(whole),
        "cut.pt": whole[: len(whole) // 2],
        "noise": bytes(range(256)) * 8,
    }


def misfits(tiny: TinyModels, folder: Path) -> Iterator[tuple[ModelSpec, str, Path]]:
    """For each backend, its own weights with one thing wrong."""
    from safetensors.torch import load_file

    for spec in tiny.specs:
        file = tiny.file_of(spec)
        if spec.backend == "openai_clip":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                whole = torch.jit.load(str(file)).state_dict()
            whole = {k: v for k, v in whole.items() if k not in ("input_resolution", "context_length", "vocab_size")}
        else:
            whole = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        name = next(name for name, tensor in whole.items() if tensor.dim() == 4)
        last = [name for name, tensor in whole.items() if tensor.dim() == 2][-1]
        wrong: dict[str, dict[str, torch.Tensor]] = {
            "shape": whole | {name: whole[name][:, :, :-1]},
            "scalar": {key: tensor.sum() if tensor.is_floating_point() else tensor for key, tensor in whole.items()},
            "last is a scalar": whole | {last: torch.tensor(1.0)},
            "last is huge": whole | {last: torch.zeros(1).expand(2**40, whole[last].shape[1])},
            "missing": {key: tensor for key, tensor in whole.items() if key != name},
            "nan": whole | {name: whole[name] * float("nan")},
        }
        if spec.backend != "openai_clip":  # clip builds whatever the file describes, and ignores what it does not know
            wrong |= {"unexpected": whole | {"stranger": torch.zeros(1)}, "integers": whole | {name: whole[name].int()}}
        for what, state in wrong.items():
            path = folder / f"{spec.backend} {what}.pt"
            torch.save({k: v if v.numel() > 10**9 else v.clone() for k, v in state.items()}, path)
            yield replace(spec, pretrained=""), f"misfit {what}", path


def trials(folder: Path) -> Iterator[tuple[ModelSpec, str, Path]]:
    """Every file with every backend: as weights of the catalog, as a person's own, and named by one's whole sha256."""
    folder.mkdir()
    tiny = make_tiny_models(folder / "tiny")
    made = files(folder, folder / "canary")
    for spec in tiny.specs:
        for name, path in made.items():
            yield spec, name, path
        yield replace(spec, pretrained=""), "code touch.pth", made["code touch.pth"]
    yield from misfits(tiny, folder)


def main(folder: Path) -> None:
    """Try all of them and print what was said."""
    every = list(trials(folder))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    for spec, name, path in every:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            load(replace(spec, weights=WeightsSource(f"file:{path}")), WeightsCache(folder / "cache"))
            kind, message = "loaded", ""
        except Exception as error:
            kind, message = type(error).__name__, str(error)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        print(json.dumps([spec.backend, name, kind, message, grown]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

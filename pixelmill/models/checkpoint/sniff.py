"""Files that stand where weights should be and are something else: told apart by their first bytes, in words."""

from __future__ import annotations

import zipfile
from pathlib import Path

_HEAD = 512
_AGAIN = "Fetch the file again, whole"
_CONVERT = "Save its tensors as safetensors first"
_BEGINNINGS = {
    b"version https://git-lfs": (
        "a Git LFS pointer, not the file it points to",
        "Run `git lfs pull` where it came from",
    ),
    b"\x1f\x8b": ("a gzip file", "Unpack it first"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", "Unpack it first"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "Unpack it first"),
    b"\x89HDF": ("an HDF5 file", _CONVERT),
    b"\x93NUMPY": ("a NumPy file", _CONVERT),
    b"GGUF": ("a GGUF file", _CONVERT),
}
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


def what_instead(path: Path) -> str:
    """What `path` is if it cannot be weights, and what to do, as ` It is … .`; '' for what may be weights."""
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        return f" It is {kind}. Name the weights file itself."
    with path.open("rb") as file:
        head = file.read(_HEAD)
    found = _told(path, head)
    return f" It is {found[0]}. {found[1]}." if found else ""


def _told(path: Path, head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty", _AGAIN
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "a web page; a proxy or a login stood in for the file", f"Look at it in a text editor. {_AGAIN}"
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return "a PyTorch file that was cut off", _AGAIN
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") + 8 > path.stat().st_size:
        return "a safetensors file that was cut off, or whose header lies about its length", _AGAIN
    return next((told for beginning, told in _BEGINNINGS.items() if head.startswith(beginning)), None)

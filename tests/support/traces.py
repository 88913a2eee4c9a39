"""What is left of pictures in files: their checksums, names, vectors and texts, looked for byte by byte."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import h5py
import numpy as np


def needles(
    *, sha256: bytes, paths: Iterable[str], vectors: Iterable[np.ndarray] = (), texts: Iterable[str] = ()
) -> dict[str, bytes]:
    """What a picture is known by, each in every form in which it may be written, by what it is."""
    found = {"sha256": sha256, "sha256 in hex": sha256.hex().encode(), "SHA256 in hex": sha256.hex().upper().encode()}
    for text in (*paths, *texts):
        found[f"{text!r}"] = text.encode()
        found[f"{text!r} in UTF-16"] = text.encode("utf-16-le")
        found[f"{text!r} in JSON"] = json.dumps(text)[1:-1].encode()
        found[f"{text!r} in an address"] = quote(text).encode()
    for number, vector in enumerate(vectors):
        found[f"vector {number}, float32"] = vector.astype("<f4").tobytes()
        found[f"vector {number}, float16"] = vector.astype("<f2").tobytes()
    return found


def traces(folder: Path, wanted: Mapping[str, bytes]) -> list[str]:
    """Which of what is wanted is found in which file below a folder, or in what a file says when it is read."""
    return sorted(
        f"{path.relative_to(folder)}: {name}"
        for path in sorted(folder.rglob("*")) if path.is_file()
        for content in [b"\0".join(_contents(path))]
        for name, needle in wanted.items() if needle in content or needle in "".join(path.parts).encode()
    )  # fmt: skip


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    if content[:4] == b"PAR1":
        yield from _parquet(path)
    elif content[:8] == b"\x89HDF\r\n\x1a\n" or path.name == "vectors.h5":
        yield from _hdf5(path)
    elif content[:16] == b"SQLite format 3\0":
        yield from _sqlite(path)
    elif content[:2] == b"PK":
        yield from _npz(path)
    elif content.startswith(b"pixelmill message"):
        yield from _message(content)


def _parquet(path: Path) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for column in table.columns:
        for chunk in column.chunks:
            yield from (buffer.to_pybytes() for buffer in _buffers(chunk))


def _buffers(array: object) -> Iterator[object]:
    yield from (buffer for buffer in array.buffers() if buffer is not None)  # type: ignore[attr-defined]


def _hdf5(path: Path) -> Iterator[bytes]:
    found: list[bytes] = []

    def read(_name: str, dataset: h5py.Group | h5py.Dataset) -> None:
        if isinstance(dataset, h5py.Dataset):
            values = dataset[()]
            found.extend(map(bytes, values.tolist()) if values.dtype == object else [values.tobytes()])

    with h5py.File(path, "r") as file:
        file.visititems(read)
    yield from found


def _sqlite(path: Path) -> Iterator[bytes]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        db.text_factory = bytes
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in db.execute(f"SELECT * FROM {table.decode()}"):
                yield from (cell for cell in row if isinstance(cell, bytes))


def _npz(path: Path) -> Iterator[bytes]:
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            yield arrays[name].tobytes()


def _message(content: bytes) -> Iterator[bytes]:
    start = len(b"pixelmill message\n") + 32
    length = int.from_bytes(content[start : start + 8], "little")
    yield zlib.decompress(content[start + 8 : start + 8 + length])

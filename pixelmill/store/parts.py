"""Immutable part files: contiguous, uncompressed HDF5, so that their arrays can be memory-mapped."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from pixelmill.errors import StoreDamaged
from pixelmill.store.durable import write_durably
from pixelmill.store.manifest import ArrayLayout, Extent, Part

TEXT = h5py.string_dtype("utf-8")
PAGE = 4096


def write_part(folder: Path, datasets: Mapping[str, np.ndarray | Sequence[bytes]]) -> Part:
    """Write `datasets` (by name; arrays, or lists of UTF-8 bytes) as a new part file in `folder`, durably."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", alignment_threshold=1024, alignment_interval=PAGE) as file:
        arrays = {name: layout for name, values in datasets.items() if (layout := _add(file, name, values))}
    name = f"{secrets.token_hex(8)}.h5"
    content = buffer.getbuffer()
    digest = write_durably(folder / name, content)
    return Part(file=name, bytes=len(content), sha256=digest, arrays=arrays)


def _add(file: h5py.File, name: str, values: np.ndarray | Sequence[bytes]) -> ArrayLayout | None:
    if not isinstance(values, np.ndarray):
        file.create_dataset(name, data=list(values), shape=(len(values),), dtype=TEXT)
        return None
    dataset = file.create_dataset(name, data=values)
    offset = dataset.id.get_offset()
    return None if offset is None else ArrayLayout(offset=offset, dtype=values.dtype.str, shape=values.shape)


class PartFiles:
    """The part files of one snapshot, opened when first read; arrays are memory-mapped, never copied."""

    def __init__(self, folder: Path, parts: Mapping[str, Part]) -> None:
        self._folder = folder
        self._parts = parts
        self._arrays: dict[tuple[str, str], np.ndarray] = {}

    def array(self, extent: Extent, dataset: str) -> np.ndarray:
        """The rows of `extent` in `dataset`, read-only, backed by the file. Raises StoreDamaged naming file and rows."""
        mapped = self._arrays.get((extent.part, dataset))
        if mapped is None:
            mapped = self._arrays[extent.part, dataset] = self._map(extent, dataset)
        return mapped[extent.offset : extent.offset + extent.rows]

    def texts(self, extent: Extent, dataset: str) -> np.ndarray:
        """The rows of `extent` in a text dataset, as an object array of bytes."""
        path = self._checked(extent)
        try:
            with h5py.File(path, "r") as file:
                values: np.ndarray = file[dataset][extent.offset : extent.offset + extent.rows]
        except (OSError, KeyError, RuntimeError) as error:
            raise damaged(path, extent, f"cannot be read as HDF5 ({error})") from error
        return values

    def _map(self, extent: Extent, dataset: str) -> np.ndarray:
        path = self._checked(extent)
        layout = self._parts[extent.part].arrays.get(dataset)
        if layout is None:
            raise damaged(path, extent, f"is not known to hold {dataset}")
        return np.memmap(path, layout.dtype, "r", layout.offset, layout.shape)

    def _checked(self, extent: Extent) -> Path:
        path = self._folder / extent.part
        expected = self._parts[extent.part].bytes
        try:
            found = path.stat().st_size
        except OSError as error:
            raise damaged(path, extent, f"cannot be opened ({error.strerror})") from error
        if found != expected:
            raise damaged(path, extent, f"has {found:,} bytes instead of {expected:,}")
        return path


def damaged(path: Path, extent: Extent, what: str) -> StoreDamaged:
    """The error that names a damaged part and the rows it held."""
    return StoreDamaged(
        f"Part {path} {what}; it holds rows {extent.row} to {extent.end - 1}. "
        f"Run `pixelmill repair {path.parent.parent}` to keep what is sound and embed the rest again."
    )

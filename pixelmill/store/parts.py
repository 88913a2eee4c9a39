"""Immutable part files: contiguous, uncompressed HDF5, so that their arrays can be memory-mapped."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.durable import NO_DAMAGE, file_sha256, refused, write_durably
from pixelmill.store.extents import Extent
from pixelmill.store.manifest import ArrayLayout, Part
from pixelmill.store.mapping import map_file
from pixelmill.store.validate import ENDS, JOINED

PARTS = "parts"
TEXT = h5py.string_dtype("utf-8")
PAGE = 4096
_SINCE = ". Where pictures were forgotten since the store was opened, open it again"


def write_part(folder: Path, datasets: Mapping[str, np.ndarray | Sequence[bytes]]) -> Part:
    """Write `datasets` (by name; arrays, or lists of UTF-8 bytes) as a new part file in `folder`, durably."""
    buffer = io.BytesIO()
    arrays: dict[str, ArrayLayout] = {}
    with h5py.File(buffer, "w", alignment_threshold=1024, alignment_interval=PAGE) as file:
        for name, values in datasets.items():
            if isinstance(values, np.ndarray):
                arrays[name] = _add(file, name, values)
            else:
                arrays |= _add_texts(file, name, values)
    name = f"{secrets.token_hex(8)}.h5"
    content = buffer.getbuffer()
    try:
        digest = write_durably(folder / name, content)
    except StoreError:
        with suppress(OSError):  # it has its name already if only that could not be made durable
            (folder / name).unlink(missing_ok=True)
        raise
    return Part(file=name, bytes=len(content), sha256=digest, arrays=arrays)


def _add(file: h5py.File, name: str, values: np.ndarray) -> ArrayLayout:
    dataset = file.create_dataset(name, data=values)
    offset = dataset.id.get_offset()
    if offset is None:
        raise ValueError(f"Expected rows for {name}. Got an array of shape {values.shape}.")
    return ArrayLayout(offset=offset, dtype=values.dtype.str, shape=values.shape)


def _add_texts(file: h5py.File, name: str, values: Sequence[bytes]) -> dict[str, ArrayLayout]:
    """Texts as HDF5 strings for others, and once more as bytes with their ends, which need no HDF5 to be read."""
    file.create_dataset(name, data=list(values), shape=(len(values),), dtype=TEXT)
    ends = np.cumsum([len(value) for value in values], dtype=np.int64)
    joined = np.frombuffer(b"".join(values) + b"\0", dtype=np.uint8)
    return {name + ENDS: _add(file, name + ENDS, ends), name + JOINED: _add(file, name + JOINED, joined)}


class PartFiles:
    """The part files of one snapshot, opened when first read; arrays are memory-mapped, never copied."""

    def __init__(self, folder: Path, parts: Mapping[str, Part]) -> None:
        self._folder = folder
        self._parts = parts
        self._mapped: dict[str, memoryview] = {}

    def array(self, extent: Extent, dataset: str) -> np.ndarray:
        """The rows of `extent` in `dataset`, read-only, on the file. Raises StoreDamaged, naming file and rows."""
        return self._whole(extent, dataset)[extent.offset : extent.offset + extent.rows]

    def texts(self, extent: Extent, dataset: str) -> np.ndarray:
        """The rows of `extent` in a text dataset, as an object array of bytes. Raises StoreDamaged like `array`."""
        first = max(extent.offset - 1, 0)
        ends = self._whole(extent, dataset + ENDS)[first : extent.offset + extent.rows]
        bounds = (ends if extent.offset else np.concatenate([[0], ends])).tolist()
        joined = self._whole(extent, dataset + JOINED)
        if bounds != sorted(bounds) or bounds[0] < 0 or bounds[-1] > len(joined):
            raise damaged(self._folder / extent.part, extent, f"holds {dataset} that end before they start")
        text = joined[bounds[0] : bounds[-1]].tobytes()
        if b"\0" in text:  # no path has one
            raise damaged(self._folder / extent.part, extent, f"holds zero bytes in {dataset}")
        result = np.empty(extent.rows, dtype=object)
        result[:] = [text[start - bounds[0] : end - bounds[0]] for start, end in pairwise(bounds)]
        return result

    def filled(self, extent: Extent, dataset: str) -> np.ndarray:
        """(rows,) bool: which of the rows of `extent` have a text that is not empty. Raises like `array`."""
        ends = self._whole(extent, dataset + ENDS)[: extent.offset + extent.rows]
        lengths: np.ndarray = np.diff(ends, prepend=0)[extent.offset :] > 0
        return lengths

    def check(self, extent: Extent) -> None:
        """Raise StoreDamaged unless the part of `extent` is there, with its size."""
        if extent.part not in self._mapped:
            self._mapped[extent.part] = self._map(extent)

    def require_sound(self, extent: Extent) -> None:
        """Hash the part of `extent`. Raises StoreDamaged unless it is what was written.

        For whoever writes anew what it reads: damage would get a checksum that says it is sound.
        """
        path = self._checked(extent)
        try:
            found = file_sha256(path)
        except OSError as error:
            if error.errno in NO_DAMAGE:
                raise refused(path, error) from error
            raise damaged(path, extent, f"cannot be read ({error.strerror})") from error
        if found != self._parts[extent.part].sha256:
            raise damaged(path, extent, "has other content than was written (sha256 differs)")

    def _whole(self, extent: Extent, dataset: str) -> np.ndarray:
        self.check(extent)
        layout = self._parts[extent.part].arrays.get(dataset)
        if layout is None:
            raise damaged(self._folder / extent.part, extent, f"is not known to hold {dataset}")
        return np.ndarray(layout.shape, layout.dtype, buffer=self._mapped[extent.part], offset=layout.offset)

    def _map(self, extent: Extent) -> memoryview:
        path = self._checked(extent)
        try:
            return map_file(path, self._parts[extent.part].bytes)
        except (OSError, ValueError) as error:
            raise StoreError(f"Part {path} cannot be mapped into memory ({error}).") from error

    def _checked(self, extent: Extent) -> Path:
        path, part = self._folder / extent.part, self._parts.get(extent.part)
        if part is None:
            raise damaged(path, extent, "is used but not listed in the manifest")
        try:
            found = path.stat().st_size
        except OSError as error:
            if error.errno in NO_DAMAGE:
                raise refused(path, error) from error
            why = _SINCE if isinstance(error, FileNotFoundError) else ""
            raise damaged(path, extent, f"cannot be opened ({error.strerror}{why})") from error
        if found != part.bytes:
            raise damaged(path, extent, f"has {found:,} bytes instead of {part.bytes:,}")
        return path


def damaged(path: Path, extent: Extent, what: str) -> StoreDamaged:
    """The error that names a damaged part and the rows it held."""
    return StoreDamaged(
        f"Part {path} {what}; it holds rows {extent.row} to {extent.end - 1}. "
        f"Run `pixelmill repair {path.parent.parent}` to keep what is sound and embed the rest again."
    )

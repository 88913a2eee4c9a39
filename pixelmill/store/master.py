"""The published file: `vectors.h5`, virtual datasets over the parts plus the manifest that made them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.durable import write_durably
from pixelmill.store.manifest import (
    FORMAT,
    FORMAT_VERSION,
    IDENTITY,
    LOCATION,
    Extent,
    Manifest,
    Matrix,
    sealed,
    unsealed,
)
from pixelmill.store.parts import TEXT

MASTER = "vectors.h5"
PARTS = "parts"
MANIFEST_COPY = "manifest.json"
UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError)
"""What h5py raises at a file that is no longer what was written."""

_COLUMNS = {
    "images/sha256": (np.dtype("u1"), (32,), 0),
    "images/width": (np.dtype("i4"), (), 0),
    "images/height": (np.dtype("i4"), (), 0),
    "images/path": (TEXT, (), None),
    "images/source": (TEXT, (), None),
}


def read_manifest(store: Path) -> Manifest:
    """The manifest of the snapshot published in folder `store`.

    Raises StoreError where there is no store or one of a newer format, StoreDamaged where the master is unreadable.
    """
    path = store / MASTER
    if not path.is_file():
        raise StoreError(
            f"Expected a store with a {MASTER} in {store}. Found none. "
            f"`pixelmill run SOURCE --store {store}` makes one."
        )
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _manifest_in(path, file)
    except StoreError:
        raise
    except UNREADABLE as error:
        raise StoreDamaged(f"{path} cannot be read ({error}). Run `pixelmill repair {store}`.") from error


def publish(store: Path, manifest: Manifest) -> Manifest:
    """Make `manifest` the snapshot that readers of `store` see, atomically and durably. Returns it as published."""
    published = manifest.model_copy(
        update={"revision": manifest.revision + 1, "published_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
    )
    # The copy of the manifest goes first: it may run ahead of the master, never behind what was acknowledged.
    write_durably(store / MANIFEST_COPY, sealed(published))
    write_durably(store / MASTER, master_bytes(published))
    return published


def read_manifest_copy(store: Path) -> Manifest | None:
    """The manifest kept beside the master for `repair`, or None when that is unreadable as well."""
    try:
        return unsealed((store / MANIFEST_COPY).read_bytes())
    except (OSError, ValueError):
        return None


def master_problems(store: Path) -> list[tuple[str, str]]:
    """The datasets of the master that are not as its manifest wants them, as (name, problem). Raises StoreDamaged.

    The file is compared with itself, in one opening: it may be replaced at any time.
    """
    path = store / MASTER
    try:
        with h5py.File(path, "r", locking=False) as file:
            manifest = _manifest_in(path, file)
            found = {name: node for name, node in _datasets(file) if name != "manifest"}
            expected = _expected(manifest)
            problems = [(name, "is not in the manifest") for name in found.keys() - expected.keys()]
            problems += [(name, "is missing") for name in expected.keys() - found.keys()]
            for name in found.keys() & expected.keys():
                problems += [(name, problem) for problem in _differences(found[name], expected[name])]
            return sorted(problems)
    except StoreError:
        raise
    except UNREADABLE as error:
        raise StoreDamaged(f"{path} cannot be read ({error}). Run `pixelmill repair {store}`.") from error


def _manifest_in(path: Path, file: h5py.File) -> Manifest:
    _check_format(path, dict(file.attrs))
    return unsealed(bytes(file["manifest"][()]))


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, node: found.append((name, node)) if isinstance(node, h5py.Dataset) else None)
    return found


@dataclass(frozen=True, slots=True)
class _Expected:
    source: str
    extents: tuple[Extent, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict[str, Any]


def _expected(manifest: Manifest) -> dict[str, _Expected]:
    """What the master must hold by its manifest, by name."""
    expected = {}
    for names, extents in ((IDENTITY, manifest.identity), (LOCATION, manifest.location)):
        for name in names:
            dtype, tail, _ = _COLUMNS[name]
            expected[name] = _Expected(name, extents, (manifest.rows, *tail), dtype, {})
    for matrix in manifest.matrices:
        shape = (manifest.rows, matrix.provenance.dim)
        dtype, attributes = np.dtype(matrix.dtype), _attributes(matrix)
        expected[matrix.published_name] = _Expected(matrix.vectors, matrix.extents, shape, dtype, attributes)
    return expected


def _differences(dataset: h5py.Dataset, expected: _Expected) -> Iterator[str]:
    pieces = dataset.virtual_sources() if dataset.is_virtual else []
    links = [(e.row, f"{PARTS}/{e.part}", e.offset, e.rows, expected.source) for e in expected.extents]
    if sorted(map(_link_of, pieces)) != links:
        yield "its links are not those of the manifest"
    if dataset.shape != expected.shape or dataset.dtype != expected.dtype:
        yield f"expected {expected.dtype} {expected.shape}, found {dataset.dtype} {dataset.shape}"
    if dataset.dtype.kind == "f" and not np.isnan(dataset.fillvalue):
        yield f"rows that are not embedded read as {dataset.fillvalue}, not as NaN"
    found = dict(dataset.attrs)
    for name in sorted({*expected.attributes, *found}):
        if name not in found or not np.array_equal(found[name], expected.attributes.get(name, "")):
            yield f"its attribute {name} is not that of the manifest"


def _link_of(piece: h5py.VDSmap) -> tuple[int, str, int, int, str]:
    """A piece of a virtual dataset as (row, part file, offset, rows, dataset in the part)."""
    (row, *_), (last, *_) = piece.vspace.get_select_bounds()
    (offset, *_), (end, *_) = piece.src_space.get_select_bounds()
    rows = last - row + 1
    return row, piece.file_name, offset, rows if rows == end - offset + 1 else -1, piece.dset_name.removeprefix("/")


def master_bytes(manifest: Manifest) -> bytes:
    """The master file of a manifest."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in ("format", "format_version", "pixelmill_version", "published_at"):
            file.attrs[name] = getattr(manifest, name)
        for names, extents in ((IDENTITY, manifest.identity), (LOCATION, manifest.location)):
            for name in names:
                dtype, tail, fill = _COLUMNS[name]
                _link(file, name, name, manifest.rows, extents, dtype=dtype, tail=tail, fill=fill)
        for matrix in manifest.matrices:
            _link_matrix(file, matrix, manifest.rows)
        # One read opens a store: opaque bytes, which HDF5 neither scans nor converts.
        file["manifest"] = np.void(sealed(manifest))
    return buffer.getvalue()


def _link_matrix(file: h5py.File, matrix: Matrix, rows: int) -> None:
    made = matrix.provenance
    dataset = _link(
        file, matrix.published_name, matrix.vectors, rows, matrix.extents,
        dtype=np.dtype(matrix.dtype), tail=(made.dim,), fill=np.nan,
    )  # fmt: skip
    for name, value in _attributes(matrix).items():
        dataset.attrs[name] = value


def _attributes(matrix: Matrix) -> dict[str, Any]:
    made = matrix.provenance
    return {**made.model_dump(exclude={"versions"}), "versions": json.dumps(made.versions)}


def _link(
    file: h5py.File, name: str, source: str, rows: int, extents: Sequence[Extent],
    *, dtype: np.dtype, tail: tuple[int, ...], fill: float | None,
) -> h5py.Dataset:  # fmt: skip
    layout = h5py.VirtualLayout((rows, *tail), dtype=dtype)
    for extent in extents:
        # The source's own length is not known here and does not matter: only the selected rows are mapped.
        length = extent.offset + extent.rows
        virtual = h5py.VirtualSource(f"{PARTS}/{extent.part}", source, shape=(length, *tail), dtype=dtype)
        layout[extent.row : extent.end] = virtual[extent.offset : length]
    return file.create_virtual_dataset(name, layout, fillvalue=fill)


def _check_format(path: Path, attrs: dict[str, object]) -> None:
    if attrs.get("format") != FORMAT:
        raise StoreError(f"Expected {path} to be a Pixelmill store. Found format {attrs.get('format')!r}.")
    version = int(str(attrs.get("format_version", 0)))
    if version > FORMAT_VERSION:
        made_by = attrs.get("pixelmill_version", "unknown")
        raise StoreError(
            f"Expected a store of format {FORMAT_VERSION} or older in {path}. Found format {version}: "
            f"install pixelmill {made_by} or newer to open it."
        )

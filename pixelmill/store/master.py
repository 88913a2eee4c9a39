"""The published file: `vectors.h5`, virtual datasets over the parts plus the manifest that made them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

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
HEADER_BYTES = 512
_HEADER = re.compile(
    rb"pixelmill format (?P<format>\d{1,9}) made by (?P<version>[0-9A-Za-z.+]{1,40}) sha256 [0-9a-f]{64}\n"
)
_COLUMNS = {
    "images/sha256": (np.dtype("u1"), (32,), 0),
    "images/width": (np.dtype("i4"), (), 0),
    "images/height": (np.dtype("i4"), (), 0),
    "images/path": (TEXT, (), None),
    "images/source": (TEXT, (), None),
}


def read_manifest(store: Path) -> Manifest:
    """The manifest of the snapshot published in folder `store`.

    Raises StoreError where there is no store or one of a newer format, StoreDamaged where the master is not, to the
    byte, what was written. HDF5 is given nothing else: it may crash the process at a damaged file.
    """
    path = store / MASTER
    if not path.is_file():
        raise StoreError(
            f"Expected a store with a {MASTER} in {store}. Found none. "
            f"`pixelmill run SOURCE --store {store}` makes one."
        )
    try:
        content = path.read_bytes()
        _check_header(path, content)
        with h5py.File(io.BytesIO(content), "r") as file:
            return unsealed(bytes(file["manifest"][()]))
    except StoreError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise StoreDamaged(f"{path} cannot be read ({error}). Run `pixelmill repair {store}`.") from error


def _check_header(path: Path, content: bytes) -> None:
    """Raise unless the rest of a master is what its header says."""
    found = _HEADER.match(content)
    if found and int(found["format"]) > FORMAT_VERSION:
        raise StoreError(
            f"Expected a store of format {FORMAT_VERSION} or older in {path}. Found format {int(found['format'])}: "
            f"install pixelmill {found['version'].decode()} or newer to open it."
        )
    if not found or content[:HEADER_BYTES] != _header(content[HEADER_BYTES:], found["version"].decode()):
        raise StoreDamaged(
            f"{path} is not what was written: its checksum differs. Run `pixelmill repair {path.parent}`."
        )


def _header(body: bytes, made_by: str) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return f"{FORMAT} format {FORMAT_VERSION} made by {made_by} sha256 {digest}\n".encode().ljust(HEADER_BYTES, b"\0")


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


def master_bytes(manifest: Manifest) -> bytes:
    """The master file of a manifest. Its user block, which HDF5 skips, is a line with a checksum of the rest."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=HEADER_BYTES) as file:
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
    body = buffer.getvalue()[HEADER_BYTES:]
    return _header(body, manifest.pixelmill_version) + body


def _link_matrix(file: h5py.File, matrix: Matrix, rows: int) -> None:
    made = matrix.provenance
    dataset = _link(
        file, matrix.published_name, matrix.vectors, rows, matrix.extents,
        dtype=np.dtype(matrix.dtype), tail=(made.dim,), fill=np.nan,
    )  # fmt: skip
    for name, value in made.model_dump(exclude={"versions"}).items():
        dataset.attrs[name] = value
    dataset.attrs["versions"] = json.dumps(made.versions)


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

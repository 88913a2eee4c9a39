"""The published file: `vectors.h5`, virtual datasets over the parts plus the manifest that made them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
from pydantic import ValidationError

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.durable import write_durably
from pixelmill.store.manifest import FORMAT, FORMAT_VERSION, IDENTITY, LOCATION, Extent, Manifest, Matrix
from pixelmill.store.parts import TEXT

MASTER = "vectors.h5"
PARTS = "parts"
MANIFEST_COPY = "manifest.json"
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
        raise StoreError(f"Expected a store with a {MASTER} in {store}. Found none. `pixelmill run SOURCE --store {store}` makes one.")
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, dict(file.attrs))
            text = bytes(file["manifest"][()])
        return Manifest.model_validate_json(text)
    except (OSError, KeyError, RuntimeError, ValidationError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreDamaged(f"{path} cannot be read ({error}). Run `pixelmill repair {store}`.") from error


def publish(store: Path, manifest: Manifest) -> Manifest:
    """Make `manifest` the snapshot that readers of `store` see, atomically and durably. Returns it as published."""
    published = manifest.model_copy(
        update={"revision": manifest.revision + 1, "published_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
    )
    # The copy of the manifest goes first: it may run ahead of the master, never behind what was acknowledged.
    write_durably(store / MANIFEST_COPY, published.model_dump_json().encode())
    write_durably(store / MASTER, master_bytes(published))
    return published


def read_manifest_copy(store: Path) -> Manifest | None:
    """The manifest kept beside the master for `repair`, or None when that is unreadable as well."""
    try:
        return Manifest.model_validate_json((store / MANIFEST_COPY).read_bytes())
    except (OSError, ValidationError):
        return None


def expected_links(manifest: Manifest) -> dict[str, list[tuple[int, str, int, int]]]:
    """For each dataset of the master, its pieces as (row, part file, offset, rows)."""
    links = {name: manifest.identity for name in IDENTITY} | {name: manifest.location for name in LOCATION}
    links |= {matrix.published_name: matrix.extents for matrix in manifest.matrices}
    return {name: [(e.row, f"{PARTS}/{e.part}", e.offset, e.rows) for e in extents] for name, extents in links.items()}


def actual_links(master: Path) -> dict[str, list[tuple[int, str, int, int]]]:
    """The same as `expected_links`, as the master file itself says."""
    found: dict[str, list[tuple[int, str, int, int]]] = {}

    def visit(name: str, node: h5py.Dataset | h5py.Group) -> None:
        if isinstance(node, h5py.Dataset) and name != "manifest":
            pieces = node.virtual_sources() if node.is_virtual else []
            found[name] = sorted(_link_of(piece) for piece in pieces)

    with h5py.File(master, "r") as file:
        file.visititems(visit)
    return found


def _link_of(piece: h5py.h5s.SpaceID) -> tuple[int, str, int, int]:
    start, end = piece.vspace.get_regular_hyperslab()[0][0], piece.vspace.get_select_bounds()[1][0]
    return start, piece.file_name, piece.src_space.get_select_bounds()[0][0], end - start + 1


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
        file["manifest"] = np.void(manifest.model_dump_json().encode())
    return buffer.getvalue()


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

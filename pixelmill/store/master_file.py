"""The bytes of a master: virtual datasets over the parts, the manifest that made them, and a header that seals both."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from pixelmill.errors import StoreDamaged
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.extents import Extent
from pixelmill.store.manifest import (
    BEGINNING,
    FORMAT,
    FORMAT_VERSION,
    IDENTITY,
    LOCATION,
    SEAL,
    Manifest,
    Matrix,
    NamedEnsemble,
    sealed,
    too_new,
    unsealed,
)
from pixelmill.store.parts import PARTS, TEXT

HEADER_BYTES = 512
_HEADER = re.compile(
    rb"pixelmill format (?P<format>\d{1,9}) made by (?P<version>[0-9A-Za-z.+]{1,40}) sha256 [0-9a-f]{64}\n"
)
_SEAL_LENGTH = 64 + len(b'"}')
_TRIES = 8
_COLUMNS = {
    "images/sha256": (np.dtype("u1"), (32,), 0),
    "images/width": (np.dtype("i4"), (), 0),
    "images/height": (np.dtype("i4"), (), 0),
    "images/path": (TEXT, (), None),
    "images/source": (TEXT, (), None),
}


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
        for group in manifest.columns:
            _link_columns(file, group, manifest.rows)
        for ensemble in manifest.ensembles:
            _link_ensemble(file, ensemble, manifest)
        # One read opens a store: opaque bytes, which HDF5 neither scans nor converts.
        file["manifest"] = np.void(sealed(manifest))
    body = buffer.getvalue()[HEADER_BYTES:]
    return header(body, manifest.pixelmill_version, manifest.format_version) + body


def _link_matrix(file: h5py.File, matrix: Matrix, rows: int) -> None:
    made = matrix.provenance
    dataset = _link(
        file, matrix.published_name, matrix.vectors, rows, matrix.extents,
        dtype=np.dtype(matrix.dtype), tail=(made.dim,), fill=np.nan,
    )  # fmt: skip
    for name, value in made.model_dump(exclude={"versions"}).items():
        dataset.attrs[name] = value
    dataset.attrs["versions"] = json.dumps(made.versions)


def _link_columns(file: h5py.File, group: ColumnGroup, rows: int) -> None:
    for name, column in group.datasets():
        fill = None if isinstance(column.missing, bytes) else column.missing
        dataset = _link(
            file, group.published_name(column), name, rows, group.extents,
            dtype=column.dtype or TEXT, tail=(), fill=fill,
        )  # fmt: skip
        dataset.attrs.update(group.told(column))


def _link_ensemble(file: h5py.File, ensemble: NamedEnsemble, manifest: Manifest) -> None:
    """The members' columns side by side, each on its parts, at no cost in bytes. HDF5 turns float16 to float32."""
    members = [matrix for model in ensemble.models if (matrix := manifest.serving(model))]
    if len(members) < len(ensemble.models):
        return
    dims = [matrix.provenance.dim for matrix in members]
    layout = h5py.VirtualLayout((manifest.rows, sum(dims)), dtype=np.result_type(*(m.dtype for m in members)))
    for matrix, end in zip(members, np.cumsum(dims).tolist(), strict=True):
        dim, dtype = matrix.provenance.dim, np.dtype(matrix.dtype)
        for extent in matrix.extents:
            length = extent.offset + extent.rows
            virtual = h5py.VirtualSource(f"{PARTS}/{extent.part}", matrix.vectors, shape=(length, dim), dtype=dtype)
            layout[extent.row : extent.end, end - dim : end] = virtual[extent.offset : length]
    dataset = file.create_virtual_dataset(ensemble.published_name, layout, fillvalue=np.nan)
    dataset.attrs.update({"models": list(ensemble.models), "dims": dims, "weights": ensemble.weights})


def _link(
    file: h5py.File, name: str, source: str, rows: int, extents: Sequence[Extent],
    *, dtype: np.dtype, tail: tuple[int, ...], fill: float | None,
) -> h5py.Dataset:  # fmt: skip
    layout = h5py.VirtualLayout((rows, *tail), dtype=dtype)
    target, start = h5py.h5s.create_simple((rows, *tail)), (0,) * len(tail)
    for extent in extents:
        # The source's own length is not known here and does not matter: only the selected rows are mapped. By
        # dataspaces, since h5py.VirtualSource costs ten times as much, for every part at every commit.
        virtual = h5py.h5s.create_simple((extent.offset + extent.rows, *tail))
        virtual.select_hyperslab((extent.offset, *start), (extent.rows, *tail))
        target.select_hyperslab((extent.row, *start), (extent.rows, *tail))
        layout.dcpl.set_virtual(target, f"{PARTS}/{extent.part}".encode(), source.encode(), virtual)
    return file.create_virtual_dataset(name, layout, fillvalue=fill)


def manifest_in(content: bytes) -> Manifest:
    """The manifest in the bytes of a master, where it lies in one piece. A model's name may look like its end."""
    end = len(content)
    for _ in range(_TRIES):
        end = content.rfind(SEAL, 0, end)
        start = content.rfind(BEGINNING, 0, max(end, 0))
        if start < 0:
            break
        try:
            return unsealed(content[start : end + len(SEAL) + _SEAL_LENGTH])
        except ValueError:
            continue
    raise ValueError("it holds no manifest")


def check_header(path: Path, content: bytes) -> None:
    """Raise unless the rest of a master is what its header says."""
    found = _HEADER.match(content)
    if found and int(found["format"]) > FORMAT_VERSION:
        raise too_new(f"a store in {path}", int(found["format"]), found["version"].decode())
    if not found or content[:HEADER_BYTES] != header(
        content[HEADER_BYTES:], found["version"].decode(), int(found["format"])
    ):
        raise StoreDamaged(
            f"{path} is not what was written: its checksum differs. Run `pixelmill repair {path.parent}`."
        )


def header(body: bytes, made_by: str, version: int) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return f"{FORMAT} format {version} made by {made_by} sha256 {digest}\n".encode().ljust(HEADER_BYTES, b"\0")

"""Whether a manifest can be true: a store may come from a stranger, and then its checksums do too."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pixelmill.store.columns import Column
from pixelmill.store.extents import Extent
from pixelmill.store.manifest import FORMAT, FORMAT_VERSION, IDENTITY, LOCATION, Manifest, Matrix, Part, Provenance

ENDS, JOINED = ":ends", ":bytes"
"""Beside a text dataset: where each text ends, in the bytes of all of them."""

_FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,99}")
COLUMN_NAME = re.compile(r"\w[\w.-]{0,63}")
"""What a column may be called, in any script."""
_FINGERPRINT = re.compile(r"[0-9a-f]{16,128}")
_MOST = 2**48
"""Rows, bytes and dims beyond this are lies, and would overflow what is computed with them."""
_MOST_DIM = 2**20
_MOST_PIXELS = 2**20


class Expected(NamedTuple):
    """What a dataset of a part must be: its element's code and size in bytes, and the shape of a row; None: no rows."""

    code: str
    size: int
    tail: tuple[int, ...] | None = ()


_COLUMNS = {
    "images/sha256": Expected("u1", 1, (32,)),
    "images/width": Expected("i4", 4),
    "images/height": Expected("i4", 4),
    **{name + ENDS: Expected("i8", 8) for name in LOCATION},
    **{name + JOINED: Expected("u1", 1, None) for name in LOCATION},
}


def check_manifest(manifest: Manifest) -> Manifest:
    """The manifest, if everything in it fits together. Raises ValueError that says what does not.

    Afterwards: part files are plain names, rows are mapped once and within the store, every row has an identity and a
    path, every dataset that is mapped lies inside its part with the type and shape that a reader expects, and HDF5 and
    JSON can hold all that is said.
    """
    if manifest.format != FORMAT or not 1 <= manifest.format_version <= FORMAT_VERSION:
        raise ValueError(f"its format is {manifest.format!r:.50} {manifest.format_version}")
    if not 0 <= manifest.rows <= _MOST:
        raise ValueError(f"it has {manifest.rows} rows")
    if not 0 <= manifest.revision <= _MOST:
        raise ValueError(f"it is revision {manifest.revision}")
    _check_files(manifest)
    _check_matrices(manifest.matrices)
    _check_ensembles(manifest)
    _check_columns(manifest)
    for names, extents in manifest.datasets():
        needed = _needed(names, extents, manifest)
        for name, expected in _expected(names, manifest):
            for file, rows in needed.items():
                _check_array(name, expected, manifest.parts[file], rows)
    return manifest


def _check_files(manifest: Manifest) -> None:
    for name in (
        *manifest.parts,
        *(part.file for part in manifest.parts.values()),
        *(r.file for r in manifest.retired),
    ):
        if not _FILE.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is no name of a part file")
    for name, part in manifest.parts.items():
        if part.file != name or not 0 < part.bytes <= _MOST:
            raise ValueError(f"part {name} is listed as {part.file} of {part.bytes} bytes")
    if not all(math.isfinite(retired.at) for retired in manifest.retired):
        raise ValueError("a part is retired since no time")
    both = manifest.parts.keys() & {retired.file for retired in manifest.retired}
    if both:
        raise ValueError(f"part {min(both)} is in use and retired")


def _check_matrices(matrices: Sequence[Matrix]) -> None:
    for matrix in matrices:
        made = matrix.provenance
        if any(step in ("", ".", "..") for step in made.model.split("/")) or "\0" in made.model:
            raise ValueError(f"{made.model[:100]!r} is no name of a model")
        if not _FINGERPRINT.fullmatch(made.fingerprint) or not 0 < made.dim <= _MOST_DIM:
            raise ValueError(f"the matrix of {made.model} has {made.dim} dims, fingerprint {made.fingerprint[:100]!r}")
        _check_attributes(made)
    for names in ([m.key for m in matrices], [m.published_name for m in matrices]):
        if len(set(names)) < len(names):
            raise ValueError("two matrices have one name")
    _check_tree({m.published_name for m in matrices})


def _check_ensembles(manifest: Manifest) -> None:
    names = [ensemble.name for ensemble in manifest.ensembles]
    if names and manifest.format_version < 2:
        raise ValueError(f"it has ensembles, in format {manifest.format_version}")
    if len(set(names)) < len(names):
        raise ValueError("two ensembles have one name")
    for ensemble in manifest.ensembles:
        if not _FILE.fullmatch(ensemble.name):
            raise ValueError(f"{ensemble.name[:100]!r} is no name of an ensemble")
        weights = ensemble.weights
        if not ensemble.models or len(weights) != len(ensemble.models):
            raise ValueError(f"ensemble {ensemble.name} has {len(ensemble.models)} models and {len(weights)} weights")
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise ValueError(f"ensemble {ensemble.name} has the weights {weights}")
        if any("\0" in model for model in ensemble.models):
            raise ValueError(f"ensemble {ensemble.name} has a model with a zero byte in its name")


def _check_columns(manifest: Manifest) -> None:
    groups = manifest.columns
    if groups and manifest.format_version < 3:
        raise ValueError(f"it has columns, in format {manifest.format_version}")
    for group in groups:
        if any("\0" in said for said in (group.source, group.version, *(c.unit for c in group.columns))):
            raise ValueError("what it says of a column holds a zero byte")
        if not group.columns or not all(COLUMN_NAME.fullmatch(column.name) for column in group.columns):
            raise ValueError(f"the columns from {group.source[:100]!r} have no names, or some that are none")
    names = [group.published_name(column) for group in groups for column in group.columns]
    keys = [group.key for group in groups]
    if len(set(names)) < len(names) or len(set(keys)) < len(keys):
        raise ValueError("two columns have one name")


def _check_attributes(made: Provenance) -> None:
    for name, value in made.model_dump(exclude={"versions"}).items():
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"the {name} of {made.model} holds a zero byte")
        if isinstance(value, tuple) and not all(map(math.isfinite, value)):
            raise ValueError(f"the {name} of {made.model} is {value}")
    for name, pixels in (("image_size", made.image_size), ("resize", made.resize)):
        if not 0 < pixels <= _MOST_PIXELS:
            raise ValueError(f"the {name} of {made.model} is {pixels}")


def _check_tree(names: set[str]) -> None:
    """No dataset may lie inside another."""
    for name in names:
        for at, character in enumerate(name):
            if character == "/" and name[:at] in names:
                raise ValueError(f"{name[:100]} would lie inside the matrix {name[:at][:100]}")


def _needed(names: tuple[str, ...], extents: Sequence[Extent], manifest: Manifest) -> dict[str, int]:
    """The rows that each part must hold at least, for one group of datasets."""
    end, needed = 0, dict[str, int]()
    everywhere = names in (IDENTITY, LOCATION)
    for extent in extents:
        if extent.row < end or extent.rows < 1 or extent.offset < 0 or (everywhere and extent.row > end):
            raise ValueError(f"{names[0]} maps rows {extent.row} to {extent.end - 1} after row {end - 1}")
        if extent.part not in manifest.parts:
            raise ValueError(f"{names[0]} uses part {extent.part[:100]!r}, which is not listed")
        end = extent.end
        needed[extent.part] = max(needed.get(extent.part, 0), extent.offset + extent.rows)
    if end > manifest.rows or (everywhere and end < manifest.rows):
        raise ValueError(f"{names[0]} maps {end} of {manifest.rows} rows")
    return needed


def _expected(names: tuple[str, ...], manifest: Manifest) -> Iterator[tuple[str, Expected]]:
    if names == LOCATION:
        yield from ((name + kind, _COLUMNS[name + kind]) for name in names for kind in (ENDS, JOINED))
    elif names == IDENTITY:
        yield from ((name, _COLUMNS[name]) for name in names)
    elif group := next((g for g in manifest.columns if g.names == names), None):
        yield group.embedded, Expected("u1", 1)
        for name, column in group.datasets():
            yield from _of_column(name, column)
    else:
        matrix = next(m for m in manifest.matrices if m.vectors == names[0])
        element = ("f4", 4) if matrix.dtype == "float32" else ("f2", 2)
        yield matrix.vectors, Expected(*element, (matrix.provenance.dim,))
        yield matrix.embedded, Expected("u1", 1)


def _of_column(name: str, column: Column) -> Iterator[tuple[str, Expected]]:
    if column.dtype:
        yield name, Expected(column.dtype.str[1:], column.dtype.itemsize)
    else:
        yield name + ENDS, Expected("i8", 8)
        yield name + JOINED, Expected("u1", 1, None)


def _check_array(name: str, expected: Expected, part: Part, rows: int) -> None:
    layout = part.arrays.get(name)
    if layout is None:
        raise ValueError(f"part {part.file} is not known to hold {name}")
    shape = layout.shape
    right = len(shape) >= 1 and (expected.tail is None or (shape[0] >= rows and shape[1:] == expected.tail))
    codes = {order + expected.code for order in "<>|"}
    if layout.dtype not in codes or not right or min(shape) < 0:
        raise ValueError(f"part {part.file} holds {name} as {layout.dtype[:20]!r} {shape[:4]}")
    if not 0 <= layout.offset <= part.bytes - math.prod(shape) * expected.size:
        raise ValueError(f"{name} lies beyond the end of part {part.file}")

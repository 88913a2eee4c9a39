"""What a store holds: which rows of which dataset lie where in which part file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from pixelmill.choices import Background, Decode, Frames, Precision, VectorDtype
from pixelmill.errors import StoreTooNew
from pixelmill.store.columns import Column, ColumnGroup
from pixelmill.store.extents import Extent
from pixelmill.version import VERSION

FORMAT = "pixelmill"
FORMAT_VERSION = 3
"""1: the first. 2: ensembles with names. 3: columns. A store is written in the oldest format that can say what it has,
which older programs open."""

IDENTITY = ("images/sha256", "images/width", "images/height")
LOCATION = ("images/path", "images/source")
BEGINNING = b'{"format":"pixelmill",'
SEAL = b',"checksum":"'
"""How a manifest begins, and what stands before its checksum. JSON within a manifest's texts cannot look like either.

Every later format keeps both, and the order of the first three fields, so that this program can say what it found.
"""
_VERSIONS = re.compile(
    rb'\{"format":"pixelmill","format_version":(\d{1,9}),"pixelmill_version":"([0-9A-Za-z.+]{1,40})"'
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrayLayout(_Frozen):
    """Where a contiguous dataset lies in its part file: byte offset, NumPy dtype string, shape."""

    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


class Part(_Frozen):
    """An immutable part file, by name under `parts/`: size in bytes, sha256 (hex), its contiguous datasets."""

    file: str
    bytes: int
    sha256: str
    arrays: dict[str, ArrayLayout]


class Provenance(_Frozen):
    """Exactly what made a matrix; the attributes of its dataset."""

    model: str
    backend: str
    architecture: str
    pretrained: str
    weights_sha256: str
    dim: int
    image_size: int
    resize: int
    resize_mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    precision: Precision
    decode: Decode
    exif_orientation: bool
    background: Background
    fingerprint: str
    normalized: bool = False
    versions: dict[str, str]
    generation: int = 1
    """Counts on where all else is the same and the libraries make other vectors than those stored."""
    frames: Frames = "first"

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As programs from before `generation` and `frames` wrote it, unless they say something."""
        written: dict[str, Any] = handler(self)
        if self.generation == 1:
            del written["generation"]
        if self.frames == "first":
            del written["frames"]
        return written


class Matrix(_Frozen):
    """One generation of one model's embeddings. `serving`: it is what `/vectors/<model>` shows."""

    provenance: Provenance
    dtype: VectorDtype
    serving: bool
    extents: tuple[Extent, ...] = ()

    @property
    def fingerprint(self) -> str:
        return self.provenance.fingerprint

    @property
    def key(self) -> str:
        """The name of this generation's datasets inside the part files."""
        return self.provenance.fingerprint[:16]

    @property
    def vectors(self) -> str:
        return f"vectors/{self.key}"

    @property
    def embedded(self) -> str:
        return f"embedded/{self.key}"

    @property
    def published_name(self) -> str:
        """The name of this generation's dataset in the master."""
        if self.serving:
            return f"vectors/{self.provenance.model}"
        return f"generations/{self.provenance.model}/{self.key}"


Fillable = Matrix | ColumnGroup
"""What is filled row by row, and planned by what it lacks."""


class NamedEnsemble(_Frozen):
    """Models side by side under a name, in this order; `weights` count when vectors are compared or exported."""

    name: str
    models: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def published_name(self) -> str:
        """The name of its dataset in the master: the members' raw vectors, where each model is served."""
        return f"ensembles/{self.name}"


class Retired(_Frozen):
    """A part file that no dataset uses since `at` (Unix seconds); kept a while for readers of older snapshots."""

    file: str
    at: float


class Manifest(_Frozen):
    """One published snapshot of a store."""

    format: str = FORMAT
    format_version: int = 1
    pixelmill_version: str = VERSION
    store_id: str
    revision: int = 0
    published_at: str = ""
    rows: int = 0
    identity: tuple[Extent, ...] = ()
    location: tuple[Extent, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    parts: dict[str, Part] = {}
    retired: tuple[Retired, ...] = ()
    ensembles: tuple[NamedEnsemble, ...] = ()
    columns: tuple[ColumnGroup, ...] = ()

    def with_ensembles(self, ensembles: Iterable[NamedEnsemble]) -> Manifest:
        """The manifest with other ensembles, in the oldest format that can say it."""
        return self.model_copy(update={"ensembles": tuple(ensembles)})._in_oldest_format()

    def with_columns(self, columns: Iterable[ColumnGroup]) -> Manifest:
        """The manifest with other columns, in the oldest format that can say it."""
        return self.model_copy(update={"columns": tuple(columns)})._in_oldest_format()

    def with_filled(self, grown: Fillable) -> Manifest:
        """The manifest with a matrix, or a group of columns, in the place of the one of its fingerprint."""
        if isinstance(grown, Matrix):
            matrices = tuple(grown if m.fingerprint == grown.fingerprint else m for m in self.matrices)
            return self.model_copy(update={"matrices": matrices})
        return self.with_columns(grown if g.fingerprint == grown.fingerprint else g for g in self.columns)

    def _in_oldest_format(self) -> Manifest:
        return self.model_copy(update={"format_version": 3 if self.columns else 2 if self.ensembles else 1})

    def ensemble(self, name: str) -> NamedEnsemble | None:
        return next((e for e in self.ensembles if e.name == name), None)

    def serving(self, model: str) -> Matrix | None:
        """The generation that `/vectors/<model>` shows."""
        return next((m for m in self.matrices if m.serving and m.provenance.model == model), None)

    def matrix(self, fingerprint: str) -> Matrix | None:
        return next((m for m in self.matrices if m.provenance.fingerprint == fingerprint), None)

    def group(self, fingerprint: str) -> ColumnGroup | None:
        return next((g for g in self.columns if g.fingerprint == fingerprint), None)

    def fillable(self, fingerprint: str) -> Fillable | None:
        """The matrix or group of columns of this fingerprint."""
        return self.matrix(fingerprint) or self.group(fingerprint)

    def column(self, name: str) -> tuple[ColumnGroup, Column] | None:
        """The column that `/columns/<name>` shows, in its group."""
        found = ((group, column) for group in self.columns if group.serving for column in group.columns)
        return next(((group, column) for group, column in found if column.name == name), None)

    def datasets(self) -> Iterator[tuple[tuple[str, ...], tuple[Extent, ...]]]:
        """Each group of datasets that share their extents, by their names inside the part files."""
        yield IDENTITY, self.identity
        yield LOCATION, self.location
        for matrix in self.matrices:
            yield (matrix.vectors, matrix.embedded), matrix.extents
        for group in self.columns:
            yield group.names, group.extents

    def texts(self) -> set[str]:
        """The datasets that hold texts."""
        found = (name for group in self.columns for name, column in group.datasets() if column.kind == "text")
        return {*LOCATION, *found}

    def used_parts(self) -> set[str]:
        return {extent.part for _, extents in self.datasets() for extent in extents}


def sealed(manifest: Manifest) -> bytes:
    """A manifest as JSON, with a checksum of everything before it as its last field."""
    left_out = {name for name in ("ensembles", "columns") if not getattr(manifest, name)}  # older formats lack them
    body = manifest.model_dump_json(exclude=left_out).encode().removesuffix(b"}")
    return body + SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}'


def unsealed(content: bytes) -> Manifest:
    """The manifest in what `sealed` gave. Raises ValueError for anything else, be it one byte.

    Raises StoreTooNew for what a newer program sealed.
    """
    body, _, seal = content.rpartition(SEAL)
    if seal != hashlib.sha256(body).hexdigest().encode() + b'"}':
        raise ValueError("the manifest is not what was written: its checksum differs")
    found = _VERSIONS.match(body)
    if found and int(found[1]) > FORMAT_VERSION:
        raise too_new("a manifest", int(found[1]), found[2].decode())
    return Manifest.model_validate_json(body + b"}")


def too_new(what: str, found: int, made_by: str) -> StoreTooNew:
    """The error for something of format `found`, made by that version of the program."""
    return StoreTooNew(
        f"Expected {what} of format {FORMAT_VERSION} or older. Found format {found}: "
        f"install pixelmill {made_by} or newer to open it. Nothing was touched."
    )

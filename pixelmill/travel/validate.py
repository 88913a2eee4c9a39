"""Whether rows that come from elsewhere can be stored: what is not so is refused before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from pixelmill.store.columns import ColumnGroup
from pixelmill.store.manifest import Fillable, Matrix
from pixelmill.store.rows import Content, Failure, ShardRows, Vectors
from pixelmill.travel.facts import require_facts
from pixelmill.travel.files import is_number, require_file, require_path
from pixelmill.travel.messages import MessageRefused

_SHA256: Final = 32
_MOST_PIXELS: Final = 2**31 - 1
"""The largest width that a store keeps."""
_MOST_TEXT: Final = 2**20
"""Characters of a reason: a ledger keeps no more than some million bytes in one place."""


def require_storable(rows: ShardRows, asked: Iterable[Fillable]) -> None:
    """Refuse rows that no worker makes of a shard for what was `asked`: contents that stand there twice, vectors of
    another dimension, of contents that are not listed or not finite, facts that are none, files and reasons that a
    ledger cannot keep.

    Raises MessageRefused. Whether the rows are true is another matter, as is whether float16 can hold them.
    """
    asked = list(asked)
    made = {matrix.fingerprint: matrix.provenance for matrix in asked if isinstance(matrix, Matrix)}
    try:
        for content in rows.contents:
            _require_content(content)
        if len({content.sha256 for content in rows.contents}) < len(rows.contents):
            raise ValueError("it has a content twice")
        for file, sha256 in rows.copies:
            require_file(file)
            _require_sha256(sha256)
        for failure in rows.failures:
            _require_failure(failure, {"", *(one.fingerprint for one in asked)})
        for fingerprint, vectors in rows.vectors.items():
            if fingerprint not in made:
                raise ValueError(f"it has vectors of a matrix that was not asked for, {fingerprint!r:.40}")
            _require_vectors(vectors, made[fingerprint].dim, len(rows.contents))
        if rows.facts:
            require_facts(rows.facts, [one for one in asked if isinstance(one, ColumnGroup)], len(rows.contents))
    except (ValueError, TypeError, AttributeError) as error:
        raise MessageRefused(
            f"Expected the rows of a shard. Got rows that cannot be stored: {error}. Nothing was stored. Have the "
            "shard done again, by the same version on a sound machine."
        ) from error


def _require_content(content: Content) -> None:
    require_file(content.file)
    _require_sha256(content.sha256)
    if not (is_number(content.width, 0, _MOST_PIXELS) and is_number(content.height, 0, _MOST_PIXELS)):
        raise ValueError(f"the size in pixels of {content.file.absolute!r:.80} is out of range")


def _require_sha256(sha256: object) -> None:
    if not isinstance(sha256, bytes) or len(sha256) != _SHA256:
        raise ValueError(f"{sha256!r:.80} is no sha256")


def _require_failure(failure: Failure, fingerprints: set[str]) -> None:
    require_path(failure.path)
    if "/" not in failure.path:
        raise ValueError(f"{failure.path!r:.80} is no whole path")
    if failure.sha256 is not None:
        _require_sha256(failure.sha256)
    if failure.fingerprint not in fingerprints:
        raise ValueError(f"it tells of a matrix that was not asked for, {failure.fingerprint!r:.40}")
    for text in (failure.stage, failure.reason, failure.model):
        if len(text) > _MOST_TEXT:
            raise ValueError(f"a reason has {len(text):,} characters")
        text.encode()  # a UnicodeError is a ValueError


def _require_vectors(vectors: Vectors, dim: int, contents: int) -> None:
    index, values = vectors.index, vectors.values
    if index.ndim != 1 or index.dtype.kind not in "iu" or values.dtype.kind != "f":
        raise ValueError(f"its vectors are {index.dtype} and {values.dtype} of shape {index.shape} and {values.shape}")
    if values.shape != (len(index), dim):
        raise ValueError(f"its vectors have shape {values.shape} instead of {(len(index), dim)}")
    if len(index) and not (index.min() >= 0 and index.max() < contents and len(np.unique(index)) == len(index)):
        raise ValueError(f"its vectors are not each of one of its {contents:,} contents")
    if not np.isfinite(values).all():
        raise ValueError("a vector is not finite")

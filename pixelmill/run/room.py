"""Whether the store's disk has room for what is planned, looked at before anything is embedded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelmill.choices import VectorDtype
from pixelmill.embedding.facts import FACTS_GROUP
from pixelmill.errors import StoreFull
from pixelmill.formatting import human_bytes
from pixelmill.plan import Plan
from pixelmill.store.compact import PART_LIMIT, TARGET_BYTES
from pixelmill.store.durable import BLOCK
from pixelmill.store.manifest import Manifest, Matrix

ROW_BYTES = 1024
"""A guess at what a new row takes beside its vectors, with a path of about a hundred bytes: its columns in a part, and
what the ledger and its log have of it."""
FACTS_BYTES = 512
"""A guess at what the facts of an image take: eleven numbers, and three texts, each kept twice."""
_COLUMNS = 8
"""Datasets of a part beside those of its matrices; each begins at a page of its own."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that what is planned takes on the store's disk, and those that are free there; None where nobody knows."""

    needed: int
    free: int | None

    @property
    def lacking(self) -> bool:
        """Whether it cannot fit. What nobody knows, as a quota, the writing tells."""
        return self.free is not None and self.needed > self.free

    def words(self, store: Path) -> str:
        """Why a run that cannot fit is not begun."""
        return (
            f"Expected {human_bytes(self.needed)} of free space in {store} for what is to be embedded. Found "
            f"{human_bytes(self.free or 0)}. Nothing was embedded: free some space, or take fewer sources or models, "
            'or `vector_dtype = "float16"` for a new matrix.'
        )


def check_room(plan: Plan, matrices: Iterable[Matrix], manifest: Manifest, store: Path) -> None:
    """Raises StoreFull, with the numbers, if what is planned cannot fit on the disk of the store."""
    widths = {matrix.fingerprint: vector_bytes(matrix.provenance.dim, matrix.dtype) for matrix in matrices}
    widths[FACTS_GROUP.fingerprint] = FACTS_BYTES
    vectors = [(images, widths[fingerprint]) for fingerprint, images in plan.pending.items()]
    room = room_for(plan, vectors, manifest, store)
    if room.lacking:
        raise StoreFull(room.words(store))


def room_for(plan: Plan, vectors: Iterable[tuple[int, int]], manifest: Manifest | None, store: Path) -> Room:
    """The room for a plan: `vectors` are how many each model makes, and the bytes of one; so for facts. `manifest` is
    that of the store as it is, if there is one."""
    made = list(vectors)
    size = sum(images * width for images, width in made) + plan.images * ROW_BYTES
    size += len(plan.shards) * BLOCK * (_COLUMNS + 2 * len(made))
    return Room(size + _merged(plan, size, manifest) if plan.images else 0, free_bytes(store))


def vector_bytes(dim: int, dtype: VectorDtype) -> int:
    """What one vector takes, with the byte that says that it is there."""
    return dim * np.dtype(dtype).itemsize + 1


def free_bytes(folder: Path) -> int | None:
    """Bytes that are free for this user where a folder is, or will be; None where the file system does not say."""
    above = next((place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place)), folder)
    try:
        usage = shutil.disk_usage(above)
    except OSError:
        return None
    return usage.free if usage.total else None


def _merged(plan: Plan, size: int, manifest: Manifest | None) -> int:
    """What a compaction writes anew, if the run ends with so many parts: the small ones stay for a day beside it."""
    parts = [manifest.parts[name].bytes for name in manifest.used_parts()] if manifest else []
    if len(parts) + len(plan.shards) <= PART_LIMIT:
        return 0
    small = TARGET_BYTES // 2
    return sum(part for part in parts if part < small) + (size if size < small * len(plan.shards) else 0)

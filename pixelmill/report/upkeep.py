"""What looking after a store came to, in words: the message with which such a run ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pixelmill.errors import NoIndex
from pixelmill.formatting import number_of, printable
from pixelmill.search.ann import Indexed
from pixelmill.store.compact import Compaction


def no_store(folder: Path) -> str:
    """Why nothing was done."""
    return f"There is no store in {printable(str(folder))} yet, so there is nothing to do: the first run makes it."


def maintained(rows: int, done: Compaction) -> str:
    """As `Sound: 4,212 images. 12 parts became 1; 3 files that nobody reads any more were deleted.`"""
    did = []
    if done.parts_before != done.parts_after:
        did.append(f"{number_of(done.parts_before, 'part')} became {done.parts_after:,}")
    if done.deleted:
        verb = "was" if done.deleted == 1 else "were"
        did.append(f"{number_of(done.deleted, 'file')} that nobody reads any more {verb} deleted")
    if done.dropped:
        did.append(f"dropped: {', '.join(done.dropped)}")
    return f"Sound: {number_of(rows, 'image')}. {'; '.join(did) or 'Nothing to merge, nothing to delete'}."


def indexed(done: Mapping[str, Indexed | NoIndex]) -> str:
    """As `efficientnet_lite0: 4,212 vectors, 120 added, recall 0.98.`, for each model."""
    lines = [f"{model}: {_indexed(found)}" for model, found in done.items()]
    return " ".join(lines) or "The store holds no vectors yet, so there is nothing to index."


def _indexed(found: Indexed | NoIndex) -> str:
    if isinstance(found, NoIndex):
        return f"no index, and searches compare all vectors. {found}"
    how = "made anew" if found.anew else f"{found.added:,} added"
    return f"{number_of(found.rows, 'vector')}, {how}, recall {found.recall:.2f}."

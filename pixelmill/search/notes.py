"""What a person should know of how a result was found: through an index, or past one that is stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixelmill.formatting import number_of
from pixelmill.search.index_files import read_description
from pixelmill.store.generations import of_model
from pixelmill.store.reader import Ensemble

if TYPE_CHECKING:
    from pixelmill.search.ann import Approximate


def through(index: Approximate) -> list[str]:
    """What a person should know of a result that came through an index."""
    described, newer = index.described, int(index.uncovered.sum())
    recall = described.recall[described.looked_into]
    notes = [f"Found through the index, which finds {recall:.0%} of the nearest ten; --exact finds all."]
    if newer:
        notes.append(f"{number_of(newer, 'row')} came after the index and had to be compared one by one.")
    return notes


def left_behind(matrix: Ensemble) -> list[str]:
    """That a generation of before had an index, and this one has none, which was searched row by row."""
    view = matrix.members[0]
    manifest, made = view.store.manifest, view.provenance
    if len(matrix.members) > 1 or read_description(view.store, made):
        return []
    if not any(read_description(view.store, m.provenance) for m in of_model(manifest, made.model)):
        return []
    return [
        f"The index of {made.model} is stale: it belongs to another generation and was not used. "
        "The flow `index` makes one of this."
    ]

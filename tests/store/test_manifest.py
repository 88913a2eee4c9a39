"""Extents: which rows lie where."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.store.extents import Extent, extents_of_rows, joined, overlay
from pixelmill.store.manifest import Manifest, sealed, unsealed

ROWS = 40


@st.composite
def disjoint(draw: st.DrawFn) -> list[Extent]:
    """Sorted, disjoint extents over ROWS rows, touching and with gaps, in few parts so that some continue each other."""
    cuts = sorted(draw(st.sets(st.integers(0, ROWS), max_size=12)))
    extents = []
    for start, stop in pairwise(cuts):
        if draw(st.booleans()):
            offset = draw(st.one_of(st.just(start), st.integers(0, 5)))
            extents.append(Extent(start, stop - start, draw(st.sampled_from(["p", "q"])), offset))
    return extents


def unfolded(extents: list[Extent] | tuple[Extent, ...]) -> list[tuple[str, int] | None]:
    """For each row, the part and the row in it; asserts that no row is there twice."""
    rows: list[tuple[str, int] | None] = [None] * ROWS
    for extent in extents:
        for i in range(extent.rows):
            assert rows[extent.row + i] is None
            rows[extent.row + i] = extent.part, extent.offset + i
    return rows


def is_joined(extents: tuple[Extent, ...]) -> bool:
    neighbours = pairwise(extents)
    return all(
        a.end <= b.row and (a.part, a.end, a.offset + a.rows) != (b.part, b.row, b.offset) for a, b in neighbours
    )


@settings(max_examples=400, deadline=None)
@given(disjoint(), disjoint())
def test_overlay_is_that_of_arrays(old: list[Extent], added: list[Extent]) -> None:
    """Laying extents over others gives each row what writing the second over the first in arrays gives it."""
    expected = [new or before for before, new in zip(unfolded(old), unfolded(added), strict=True)]
    result = overlay(joined(old), added)
    assert unfolded(result) == expected
    assert is_joined(result)


@settings(max_examples=200, deadline=None)
@given(disjoint())
def test_joining_changes_no_row(extents: list[Extent]) -> None:
    """Joined extents map every row as before, and no two of them could be one."""
    assert unfolded(joined(extents)) == unfolded(extents)
    assert is_joined(joined(extents))


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(ROWS)), st.permutations(range(ROWS)), st.integers(0, ROWS))
def test_extents_of_rows_map_each_row_to_its_offset(rows: list[int], offsets: list[int], count: int) -> None:
    """Rows in any order get exactly the offsets given, in sorted extents."""
    extents = extents_of_rows(np.array(rows[:count], dtype=int), np.array(offsets[:count], dtype=int), "p")
    expected: list[tuple[str, int] | None] = [None] * ROWS
    for row, offset in zip(rows[:count], offsets[:count], strict=True):
        expected[row] = "p", offset
    assert unfolded(extents) == expected
    assert list(extents) == sorted(extents)


def test_many_commits_of_runs_stay_few_extents() -> None:
    """Rows that continue each other in one part are one extent, however many there are."""
    assert extents_of_rows(np.arange(1000), np.arange(1000), "p") == (Extent(0, 1000, "p", 0),)


def test_no_altered_byte_of_a_manifest_goes_unnoticed() -> None:
    """A manifest reads as written, and with any one byte changed it is refused."""
    manifest = Manifest(store_id="x", rows=3, identity=(Extent(0, 3, "p", 0),))
    content = sealed(manifest)
    assert unsealed(content) == manifest
    for position in range(len(content)):
        altered = bytearray(content)
        altered[position] ^= 1
        with pytest.raises(ValueError, match=r"."):
            unsealed(bytes(altered))

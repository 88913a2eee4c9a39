"""The table of folders: at the deepest level that keeps it short, adding up, of flat memory."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pixelmill.store import folders as module
from pixelmill.store.folders import SHOWN, FolderCounts
from pixelmill.store.rows import KINDS, FolderCount

SOURCES = (b"/", b"/photos", b"/photos/old", b"/scans")
PARTS = st.lists(st.sampled_from([b"a", b"b", b"c", b"\xff|\n"]), max_size=4)
FILES = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(SOURCES), PARTS), max_size=300)


def counted(files: list[tuple[str, bytes, list[bytes]]]) -> tuple[FolderCount, ...]:
    counts = FolderCounts()
    for kind, source, parts in files:
        counts.add(kind, source, b"/".join([source.rstrip(b"/"), *parts, b"image.png"]))
    return counts.largest()


def path_of(source: bytes, *parts: bytes) -> str:
    return os.fsdecode(b"/".join([source.rstrip(b"/"), *parts])) or "/"


def named(counts: tuple[FolderCount, ...]) -> dict[str | None, int]:
    return {count.folder: sum(getattr(count, kind) for kind in KINDS) for count in counts}


def dated(years: int, days: int) -> list[tuple[str, bytes, list[bytes]]]:
    """A picture a day, in folders by year, month and day."""
    return [
        ("new", b"/photos", [b"%d" % year, b"%02d" % (day // 28 + 1), b"%02d" % (day % 28 + 1)])
        for year in range(2000, 2000 + years)
        for day in range(days)
    ]


def test_one_days_import_is_one_line() -> None:
    """What lies in one deep folder is told by that folder; a first night over many of them by years."""
    assert named(counted(dated(1, 1) * 7)) == {"/photos/2000/01/01": 7}
    assert named(counted(dated(1, 200))) == {
        f"/photos/2000/{month:02}": min(28, 200 - 28 * month + 28) for month in range(1, 9)
    }
    assert named(counted(dated(10, 300))) == {f"/photos/{year}": 300 for year in range(2000, 2010)}


def test_flat_folders_and_several_sources_are_told_by_their_own_names() -> None:
    """Files directly in a source count for the source; those above the level for the folder they are in."""
    files = (
        [("new", b"/flat", [])] * 3 + dated(1, 60) + [("removed", b"/photos", []), ("removed", b"/photos", [b"2000"])]
    )
    assert named(counted(files)) == {
        "/photos/2000/01": 28, "/photos/2000/02": 28, "/photos/2000/03": 4, "/flat": 3, "/photos": 1, "/photos/2000": 1,
    }  # fmt: skip


def test_too_many_folders_are_summed_up() -> None:
    """With more than fit at the first level, those with most files are named and the rest is one line at the end."""
    files = [("moved", b"/users", [b"%03d" % number]) for number in range(100) for _ in range(number + 1)]
    counts = counted(files)
    assert [count.folder for count in counts] == [f"/users/{number:03}" for number in range(99, 79, -1)] + [None]
    assert (counts[0].moved, counts[-1].moved) == (100, 80 * 81 // 2)


def test_folders_without_end_are_not_held() -> None:
    """However many folders and sources there are, so many are told apart; the counts still add up."""
    counts = FolderCounts()
    for number in range(3 * module.COUNTED):
        counts.add("new", b"/list/%d" % number, b"/list/%d/image.png" % number)
        assert len(counts._counts) <= module.COUNTED + 1
    assert sum(count.new for count in counts.largest()) == 3 * module.COUNTED


@given(FILES)
def test_it_is_the_deepest_level_that_fits_and_adds_up(files: list[tuple[str, bytes, list[bytes]]]) -> None:
    """Against counting every level: the deepest with at most `SHOWN` folders, whatever the order of the files."""
    deepest = max((len(parts) for _, _, parts in files), default=0)
    for level in range(max(deepest, 1), 0, -1):
        expected = Counter((source, *parts[:level]) for _, source, parts in files)
        if len(expected) <= SHOWN:
            break
    found = counted(files)
    for kind in KINDS:
        assert sum(getattr(count, kind) for count in found) == sum(given == kind for given, _, _ in files)
    if len(expected) <= SHOWN:
        assert sorted(named(found).values()) == sorted(expected.values())
        assert {count.folder for count in found} == {path_of(*key) for key in expected}

"""Columns are joined, begun and filled while others write to the store: nothing is lost, mixed up, or of nobody."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.store import column_writer, parts
from pixelmill.store import commit as committing
from pixelmill.store.column_writer import begin, drop, join
from pixelmill.store.columns import ColumnGroup
from pixelmill.store.commit import Overtaken, StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Matrix, Part
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.stores import (
    TAG,
    check_aligned,
    check_parts,
    facts_group,
    join_tags,
    known_in,
    read_own,
    read_plain,
    rounds_of,
    shard_rows,
    tag,
)


@pytest.fixture
def facts(writer: StoreWriter, matrices: list[Matrix]) -> ColumnGroup:
    """Columns of a store of six rows."""
    group = begin(writer, facts_group())
    writer.commit(shard_rows(range(6), matrices, facts=group))
    return group


def check(folder: Path, rounds: list[int]) -> None:
    for columns in (read_plain(folder), read_own(Store(folder))):
        check_aligned(columns)
        assert rounds_of(columns) == rounds
    assert verify(folder) == []


def join_of(store: Store, writer: StoreWriter, number: int, during: Any = lambda: None) -> int:
    """Join a round to the rows of a snapshot, while `during` happens."""

    def values(start: int, stop: int) -> dict[str, list[bytes]]:
        during()
        return {"tag": [tag(row.tobytes(), number) for row in store.sha256(start, stop)]}

    return join(writer, [TAG], values, store=store)


def test_rows_that_are_added_meanwhile_have_no_values_yet(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], facts: ColumnGroup
) -> None:
    """The next join gives them some; those of the others are right."""
    join_of(writer.snapshot(), writer, 1, lambda: writer.commit(shard_rows([6, 7], matrices, facts=facts)))
    check(folder, [1] * 6 + [0] * 2)
    assert join_tags(writer, 1) == 2
    check(folder, [1] * 8)


@pytest.mark.parametrize("change", ["joined", "dropped", "compacted"])
def test_columns_that_others_changed_meanwhile_are_looked_at_again(
    change: str, folder: Path, writer: StoreWriter, facts: ColumnGroup
) -> None:
    """Whoever was overtaken publishes nothing and leaves no part; again, it joins on top of what is there then."""
    join_tags(writer, 1)
    store = writer.snapshot()
    acts = {
        "joined": lambda: join_tags(writer, 2),
        "dropped": lambda: drop(writer, ["tag"]),
        "compacted": lambda: compact(writer),
    }
    with pytest.raises(Overtaken, match="the columns tag as they were"):
        join_of(store, writer, 3, acts[change])
    check(folder, {"joined": [2] * 6, "dropped": [], "compacted": [1] * 6}[change])
    check_parts(folder) if change == "compacted" else None
    assert join_of(writer.snapshot(), writer, 3) == 6
    check(folder, [3] * 6)


def test_whoever_slept_for_days_publishes_no_part_that_is_gone(
    folder: Path, writer: StoreWriter, facts: ColumnGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compaction deletes what no snapshot names once it is a day old, as what was written for a join just before the
    lid of a laptop was closed."""
    write_part = parts.write_part

    def slept(folder_of_parts: Path, datasets: Any) -> Part:
        part = write_part(folder_of_parts, datasets)
        os.utime(folder_of_parts / part.file, (time.time() - 3 * 24 * 3600,) * 2)
        with StoreWriter(folder) as other:
            assert compact(other).deleted == 1
        return part

    with monkeypatch.context() as patched:
        patched.setattr(column_writer, "write_part", slept)
        with pytest.raises(Overtaken):
            join_tags(writer, 1)
    check(folder, [])
    join_tags(writer, 1)
    check(folder, [1] * 6)


def test_facts_that_were_begun_after_a_part_was_written_are_not_in_it(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], facts: ColumnGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns dropped while a shard was embedded, and begun again while it is committed: its vectors are stored, and the
    facts of its rows are made by the next run."""
    drop(writer, ["light"])
    write_part = parts.write_part

    def late(folder_of_parts: Path, datasets: Any) -> Part:
        monkeypatch.setattr(committing, "write_part", write_part)
        part = write_part(folder_of_parts, datasets)
        with StoreWriter(folder) as other:
            begin(other, facts_group())
        return part

    monkeypatch.setattr(committing, "write_part", late)
    writer.commit(shard_rows(range(4, 9), matrices, facts=facts))
    check(folder, [])
    assert len(Store(folder)) == 9
    assert not Store(folder).embedded(facts).any()
    writer.commit(shard_rows(range(9), matrices, facts=facts))
    assert all(known_in(read_plain(folder)["columns/light"]))
    check(folder, [])


@pytest.mark.parametrize("target", [1, 3000, 10**6])
def test_packs_are_as_large_as_their_texts(
    target: int, folder: Path, writer: StoreWriter, facts: ColumnGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long captions are merged in packs of the size of others, not in one of many times that; all values stay."""
    long = ColumnGroup.model_validate(TAG.model_dump() | {"version": "long"})
    texts = [b"x" * 1000 + bytes([97 + row]) for row in range(6)]
    join(writer, [long], lambda start, stop: {"tag": texts[start:stop]})
    monkeypatch.setattr("pixelmill.store.compact.TARGET_BYTES", target)
    monkeypatch.setattr("pixelmill.store.compact._mergeable", lambda manifest: manifest.used_parts())
    compact(writer, retention=-1)
    manifest = Store(folder).manifest
    rows = [manifest.parts[extent.part].arrays[long.embedded].shape[0] for extent in manifest.column("tag")[0].extents]  # type: ignore[index]
    assert rows == {1: [1] * 6, 3000: [1] * 6, 10**6: [6]}[target]
    assert Store(folder).columns["tag"].tolist() == [text.decode() for text in texts]
    np.testing.assert_array_equal(read_plain(folder)["columns/tag"], texts)
    assert verify(folder) == []

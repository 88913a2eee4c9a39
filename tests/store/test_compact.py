"""Many parts become few, and readers of older snapshots never notice."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelmill.errors import StoreDamaged
from pixelmill.store import compact as compaction
from pixelmill.store import packs
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact, compact_if_needed
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.verify import verify
from tests.support.stores import (
    check_plain,
    file_of,
    provenance,
    record_files,
    rows_by_content,
    sha256,
    shard_rows,
    vector,
)


def contents(count: int) -> dict[bytes, dict[str, bool]]:
    return {sha256(n): {"a": True, "b": True} for n in range(count)}


def parts_on_disk(folder: Path) -> set[str]:
    return {path.name for path in (folder / "parts").iterdir()}


def fill(writer: StoreWriter, matrices: list[Matrix], count: int) -> None:
    for n in range(count):
        writer.commit(shard_rows([n], matrices))


def test_rows_keep_their_numbers(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """Compaction merges all parts into one; every row of every matrix stays where it was."""
    fill(writer, matrices, 20)
    rows = rows_by_content(folder)
    done = compact(writer)
    assert (done.parts_before, done.parts_after) == (20, 1)
    assert rows_by_content(folder) == rows
    check_plain(folder, contents(20))
    assert max(len(extents) for _, extents in Store(folder).manifest.datasets()) == 1
    assert verify(folder) == []


@pytest.mark.parametrize("target", [1, 200, 1000, 5000])
def test_any_target_size_keeps_the_rows(
    target: int, writer: StoreWriter, folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where packs end makes no difference to any row."""
    fill(writer, matrices, 9)
    writer.commit(shard_rows(range(9, 15), matrices, bad=[10, 12]))
    monkeypatch.setattr(compaction, "TARGET_BYTES", target)
    monkeypatch.setattr(compaction, "_mergeable", lambda manifest: manifest.used_parts())
    compact(writer)
    check_plain(folder, {sha256(n): dict.fromkeys("ab", n not in (10, 12)) for n in range(15)})
    assert verify(folder) == []


def test_old_parts_stay_for_the_retention_time(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """Parts that a compaction replaced stay readable until their time is up, and go with the next one after it."""
    fill(writer, matrices, 5)
    before, old = parts_on_disk(folder), Store(folder)
    assert compact(writer, retention=3600).deleted == 0
    assert parts_on_disk(folder) > before
    np.testing.assert_array_equal(old["a"].read(), np.stack([vector(sha256(n), "a", 3) for n in range(5)]))
    assert compact(writer, retention=3600).deleted == 0
    assert compact(writer, retention=-1).deleted == 5
    assert parts_on_disk(folder) == Store(folder).manifest.used_parts()
    assert Store(folder).manifest.retired == ()
    check_plain(folder, contents(5))


def test_orphans_go_only_when_old(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """A part that no snapshot names may belong to a writer at work: it goes only after the retention time; so do the
    temporary files of writers that died."""
    fill(writer, matrices, 2)
    young, old = folder / "parts" / "young.h5", folder / "parts" / "old.h5"
    left = folder / ".vectors.h5.0123.tmp"
    for path in (young, old, left):
        path.write_bytes(b"x")
    for path in (old, left):
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
    assert compact(writer).deleted == 2
    assert young.exists()
    assert not old.exists()
    assert not left.exists()


def test_a_second_compaction_has_nothing_to_do(writer: StoreWriter, folder: Path, matrices: list[Matrix]) -> None:
    """Compacting a compact store writes nothing."""
    fill(writer, matrices, 4)
    compact(writer)
    files, manifest = parts_on_disk(folder), Store(folder).manifest
    compact(writer)
    assert parts_on_disk(folder) == files
    assert Store(folder).manifest == manifest


def test_a_large_and_a_small_part_are_left_alone(
    writer: StoreWriter, folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single small part beside large ones is not written again each night."""
    writer.commit(shard_rows(range(200), matrices))
    monkeypatch.setattr(compaction, "TARGET_BYTES", 40_000)
    writer.commit(shard_rows([200], matrices))
    before = Store(folder).manifest
    compact(writer)
    assert Store(folder).manifest == before


def test_compaction_happens_by_itself(
    writer: StoreWriter, folder: Path, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store below the limit of parts is left alone; one above it is compacted."""
    fill(writer, matrices, 6)
    assert compact_if_needed(writer) is None
    monkeypatch.setattr(compaction, "PART_LIMIT", 5)
    assert compact_if_needed(writer) is not None
    assert len(Store(folder).manifest.used_parts()) == 1


def test_readers_never_notice(folder: Path) -> None:
    """A reader that opens the store again and again, plain and by our reader, during commits, compactions and the
    deletion of retired parts sees whole snapshots only."""
    import multiprocessing

    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]
    worker = multiprocessing.get_context("fork").Process(target=commit_and_compact, args=(folder, matrices))
    worker.start()
    lengths = []
    while worker.is_alive():
        store = Store(folder)
        known = {row.tobytes(): n for n, row in enumerate(store.sha256())}
        expected = np.array([vector(content, "a", 3) for content in known]).reshape(-1, 3)
        np.testing.assert_array_equal(store["a"].read(), expected)
        lengths.append(len(store))
    worker.join()
    assert worker.exitcode == 0
    assert len(set(lengths)) > 3
    assert lengths == sorted(lengths)
    check_plain(folder, contents(40))


def commit_and_compact(folder: Path, matrices: list[Matrix]) -> None:
    with StoreWriter(folder) as writer:
        for n in range(40):
            writer.commit(shard_rows([n], matrices))
            if n % 5 == 4:
                compact(writer, retention=2)


def test_damage_is_not_merged_into_sound_parts(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], caplog: pytest.LogCaptureFixture
) -> None:
    """A part with a flipped bit is left as it is, with a warning that names it: merged, it would pass for sound."""
    record_files(writer, range(16))
    for start in (0, 4, 8, 12):
        writer.commit(shard_rows(range(start, start + 4), matrices))
    bad = folder / "parts" / next(e.part for e in Store(folder).manifest.identity if e.row <= 5 < e.end)
    extent = next(e for e in Store(folder).manifest.matrices[0].extents if e.part == bad.name)
    layout = Store(folder).manifest.parts[bad.name].arrays[Store(folder).manifest.matrices[0].vectors]
    content = bytearray(bad.read_bytes())
    content[layout.offset + extent.offset] ^= 1
    bad.write_bytes(content)
    compact(writer, retention=0)
    assert bad.name in Store(folder).manifest.used_parts()
    assert len(Store(folder).manifest.used_parts()) == 2
    assert bad.name in caplog.text
    assert {damage.file for damage in verify(folder)} == {f"parts/{bad.name}"}
    writer.ledger.scans.mark_path_gone(file_of(5).absolute)
    with pytest.raises(StoreDamaged, match="rows 4 to 7"):
        writer.update_locations([5])


def test_parts_are_merged_without_the_lock(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a pack is written, however long that takes, others commit, move and add: none waits, and what they wrote over
    rows of the pack is what counts."""
    record_files(writer, range(8))
    fill(writer, matrices[:1], 6)
    write, waited = packs.write_part, []

    def slow(parts: Path, datasets: object) -> object:
        monkeypatch.setattr(packs, "write_part", write)
        start = time.monotonic()
        with StoreWriter(folder) as other:
            other.commit(shard_rows(range(4), matrices))
            other.commit(shard_rows([6, 7], matrices))
            other.ledger.scans.mark_path_gone(file_of(3).absolute)
            other.update_locations([3])
        waited.append(time.monotonic() - start)
        return write(parts, datasets)  # type: ignore[arg-type]

    monkeypatch.setattr(packs, "write_part", slow)
    compact(writer)
    assert waited[0] < 30
    assert Store(folder).paths[3] == b""
    check_plain(folder, {sha256(n): {"a": True, "b": n not in (4, 5)} for n in range(8)})
    assert verify(folder) == []


def test_a_generation_taken_up_again_while_it_is_dropped_loses_no_vectors(
    folder: Path, writer: StoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of an old generation that is dropped between their making and their commit are stored: it begins anew; so it
    does for a run that chose it before."""
    first, second = (writer.matrix(provenance("a", version=version), "float32") for version in (0, 1))
    writer.commit(shard_rows([0, 1], [first, second]))
    writer.serve([second.provenance.fingerprint])
    with StoreWriter(folder) as other:
        assert other.snapshot().manifest.matrix(first.provenance.fingerprint)
        compact(writer, keep_generations=0)
        assert Store(folder).manifest.matrix(first.provenance.fingerprint) is None
        other.commit(shard_rows([2], [first]))
        (again,) = (m for m in Store(folder).manifest.matrices if m.provenance == first.provenance)
        np.testing.assert_array_equal(Store(folder).embedded(again), [False, False, True])
        other.continue_with(second.provenance.fingerprint)
        compact(writer, keep_generations=0)
        other.continue_with(first.provenance.fingerprint)
    assert Store(folder).manifest.matrices[-1].provenance == first.provenance
    assert verify(folder) == []


def test_a_matrix_of_an_older_snapshot_is_read_where_its_rows_lie_now(
    folder: Path, writer: StoreWriter, matrices: list[Matrix]
) -> None:
    """A snapshot is asked for a matrix as it was before a compaction, and answers by its own extents."""
    fill(writer, matrices, 4)
    before = Store(folder).manifest.matrices[0]
    compact(writer, retention=-1)
    compact(writer, retention=-1)
    now = Store(folder)
    assert before.extents != now.manifest.matrices[0].extents
    assert now.embedded(before).all()
    np.testing.assert_array_equal(MatrixView(now, before).read(), now["a"].read())


def test_a_compaction_that_fails_is_told_and_fails_nothing(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is housekeeping: without room for a pack the run goes on, and its report says why the parts are many."""
    fill(writer, matrices, 6)
    before = parts_on_disk(folder)
    monkeypatch.setattr(compaction, "PART_LIMIT", 5)
    monkeypatch.setattr(os, "posix_fallocate", raising(OSError(errno.ENOSPC, "No space left on device")))
    assert compact_if_needed(writer) is None
    assert "could not be merged; all rows are there. Expected" in writer.ledger.runs.notice()
    assert parts_on_disk(folder) == before
    check_plain(folder, contents(6))


def raising(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


def test_two_do_not_merge_at_once(folder: Path, writer: StoreWriter, matrices: list[Matrix]) -> None:
    """Whoever comes while somebody merges leaves it to them."""
    fill(writer, matrices, 3)
    with compaction.alone(folder) as alone, compaction.alone(folder) as second:
        assert alone
        assert not second
        assert compact(writer).parts_after == 3
    assert compact(writer).parts_after == 1


@pytest.mark.parametrize("jump", [73 * 365 * 86_400.0, -20 * 365 * 86_400.0], ids=["forward", "back"])
def test_a_clock_that_jumps_deletes_nothing_and_is_lived_down(
    jump: float, folder: Path, matrices: list[Matrix], writer: StoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that were replaced a moment before the clock jumped stay for who reads them, also where it stands then; once
    it is right again they go after a day, in whatever year they were replaced."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    fill(writer, matrices, 4)
    old = Store(folder)
    compact(writer)
    offset[0] = jump
    for _ in range(2):
        with StoreWriter(folder) as other:
            other.commit(shard_rows(range(20, 22) if not _ else [22], matrices))
            assert compact(other).deleted == 0
    np.testing.assert_array_equal(old["a"].read(), np.stack([vector(sha256(n), "a", 3) for n in range(4)]))
    for days, left in ((0, True), (0.5, True), (3, False)):
        offset[0] = days * 86_400.0
        with StoreWriter(folder) as other:
            compact(other)
        assert bool(Store(folder).manifest.retired) == left
    assert parts_on_disk(folder) == Store(folder).manifest.used_parts()

"""A commit that dies at any step loses nothing acknowledged and stores nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pixelmill.store.column_writer import begin, drop, serve
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.reader import Store
from pixelmill.store.rows import Changes
from pixelmill.store.verify import repair, verify
from tests.support.crash import crashing
from tests.support.stores import (
    check_aligned,
    check_plain,
    fact,
    facts_group,
    file_of,
    join_tags,
    known_in,
    provenance,
    read_plain,
    record_files,
    rounds_of,
    sha256,
    shard_rows,
)

COMMIT = (
    "before part", "after part", "manifest.json aside", "vectors.h5 aside", "before revision", "after revision",
    "before manifest.json", "after manifest.json", "before vectors.h5", "after vectors.h5", "before ledger",
    "inside ledger",
)  # fmt: skip


def everything(count: int, bad: tuple[int, ...] = ()) -> dict[bytes, dict[str, bool]]:
    return {sha256(n): {"a": n not in bad, "b": n not in bad} for n in range(count)}


@pytest.mark.parametrize("step", range(len(COMMIT)), ids=COMMIT)
def test_a_commit_survives_death_at(step: int, folder: Path) -> None:
    """After death at this step the store is the old or the new snapshot, sound; the next writer publishes what has its
    name as a revision, and its counts are those of one run."""
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance(m), "float32") for m in "ab"]
        record_files(writer, range(4))
        writer.commit(shard_rows(range(4), matrices))
        assert writer.ledger.changes().new == 4
        writer.ledger.settle()
        record_files(writer, range(9))
        with crashing(step) as steps:
            writer.commit(shard_rows(range(2, 9), matrices, bad=[5]))
        assert steps.died == COMMIT[step]
    published = len(Store(folder))
    assert published == (9 if step >= COMMIT.index("after vectors.h5") else 4)
    check_plain(folder, everything(published, bad=(5,)))
    assert verify(folder) == []
    with StoreWriter(folder) as writer:
        assert verify(folder) == []
        assert len(Store(folder)) == (9 if step >= COMMIT.index("after revision") else 4)
        writer.commit(shard_rows(range(2, 9), matrices, bad=[5]))
        changes = replace(writer.ledger.changes(), folders=())
        named = step >= COMMIT.index("after revision")
        assert changes == Changes(new=5, stale_rows=tuple(range(4, 9)) if named else (), new_rows=tuple(range(4, 9)))
        assert writer.ledger.quarantine.rows("") == [5]
        assert writer.ledger.contents.row_count() == 9
    check_plain(folder, everything(9, bad=(5,)))
    assert verify(folder) == []


@pytest.mark.parametrize("step", range(len(COMMIT)), ids=COMMIT)
def test_the_first_commit_survives_death_at(step: int, folder: Path) -> None:
    """The images of a first run that died are still told as new by the run that completes it."""
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance(m), "float32") for m in "ab"]
        record_files(writer, range(3))
        with crashing(step) as steps:
            writer.commit(shard_rows(range(3), matrices))
        assert steps.died == COMMIT[step]
    with StoreWriter(folder) as writer:
        record_files(writer, range(3))
        writer.commit(shard_rows(range(3), matrices))
        told = writer.ledger.changes()
        assert (told.new, told.moved, told.duplicate, told.changed, told.removed) == (3, 0, 0, 0, 0)
    check_plain(folder, everything(3))


def test_a_file_that_moved_after_the_death_is_found(folder: Path) -> None:
    """A row whose file went away between the death and the next run gets the path that holds it then."""
    with StoreWriter(folder) as writer:
        matrix = writer.matrix(provenance("a"), "float32")
        record_files(writer, range(2))
        with crashing(COMMIT.index("before ledger")):
            writer.commit(shard_rows(range(2), [matrix]))
    with StoreWriter(folder) as writer:
        ledger, scan = writer.ledger, writer.ledger.scans.begin()
        ledger.scans.record(scan, [file_of(0), file_of(1, "new/1.png")])
        ledger.scans.mark_gone(scan, "/photos")
        ledger.contents.record_read([(file_of(0), 0), (file_of(1, "new/1.png"), 1)])
        changes = ledger.changes()
        assert (changes.new, changes.removed, changes.moved) == (2, 0, 0)
        writer.update_locations(changes.stale_rows)
        assert list(writer.snapshot().paths) == [os.fsencode(file_of(0).path), b"new/1.png"]


@pytest.mark.parametrize("step", range(22))
def test_compaction_survives_death(step: int, folder: Path) -> None:
    """A compaction that dies at any step leaves every row as it was, and the next one does the work."""
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance(m), "float32") for m in "ab"]
        for start in range(0, 12, 3):
            writer.commit(shard_rows(range(start, start + 3), matrices, facts=begin(writer, facts_group())))
            join_tags(writer, start + 1)
        with crashing(step) as steps:
            compact(writer, retention=-1)
    check_plain(folder, everything(12))
    assert rounds_of(read_plain(folder)) == [10] * 12
    assert known_in(read_plain(folder)["columns/light"]) == [True] * 12
    assert verify(folder) == []
    with StoreWriter(folder) as writer:
        assert compact(writer, retention=-1).parts_after == 1
        compact(writer, retention=-1)
    assert len(list((folder / "parts").iterdir())) == 1
    check_plain(folder, everything(12))
    assert step >= steps.count or steps.died


def test_these_are_all_the_steps(folder: Path) -> None:
    """A commit takes exactly the steps named above, and a compaction no more than were tried."""
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance("a"), "float32")]
        writer.commit(shard_rows(range(3), matrices))
        with crashing(None) as committing:
            writer.commit(shard_rows(range(3, 6), matrices))
        with crashing(None) as compacting:
            compact(writer, retention=-1)
    assert committing.count == len(COMMIT)
    assert 6 < compacting.count <= 22


@pytest.mark.parametrize("act", ["begin", "join", "serve", "drop"])
@pytest.mark.parametrize("step", range(9))
def test_what_is_done_to_columns_survives_death(step: int, act: str, folder: Path) -> None:
    """Columns that are begun, joined, served or dropped are as they were or as they were to be, for all rows; done
    again, it is done, and a third time it writes nothing."""
    first, second = facts_group(), facts_group("2")

    def do() -> object:
        acts = {
            "begin": lambda: begin(writer, facts_group("3")), "join": lambda: join_tags(writer, 2),
            "serve": lambda: serve(writer, second.fingerprint), "drop": lambda: drop(writer, ["tag"]),
        }  # fmt: skip
        return acts[act]()

    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance("a"), "float32")]
        record_files(writer, range(6))
        writer.commit(shard_rows(range(6), matrices, facts=begin(writer, first)))
        writer.commit(shard_rows(range(6), [], facts=begin(writer, second)))
        join_tags(writer, 1)
        before = read_plain(folder)
        with crashing(step) as steps:
            do()
    died = bool(steps.died)
    after = read_plain(folder)
    check_aligned(after)
    assert rounds_of(after) in ([1] * 6, {"join": [2] * 6, "drop": []}.get(act, [1] * 6))
    assert verify(folder) == []
    with StoreWriter(folder) as writer:
        assert sorted(check_aligned(read_plain(folder))) == sorted(sha256(n) for n in range(6))
        do()
        done, revision = read_plain(folder), writer.snapshot().manifest.revision
        do()
        assert writer.snapshot().manifest.revision == revision
    assert rounds_of(done) == {"join": [2] * 6, "drop": []}.get(act, [1] * 6)
    version = {"serve": "2"}.get(act, "1")
    for name in ("light", "taken", "camera"):
        assert done[f"columns/{name}"].tolist() == [fact(sha256(n), name, version) for n in range(6)]
    np.testing.assert_array_equal(done["vectors/a"], before["vectors/a"])
    assert died == (step < steps.count)
    assert steps.count <= 9
    assert verify(folder) == []


@pytest.mark.parametrize("step", range(6))
def test_repair_survives_death(step: int, folder: Path) -> None:
    """A repair that dies at any step can be done again."""
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance(m), "float32") for m in "ab"]
        record_files(writer, range(6))
        writer.commit(shard_rows(range(3), matrices))
        writer.commit(shard_rows(range(3, 6), matrices))
    lost = min((folder / "parts").iterdir())
    lost.unlink()
    (folder / "vectors.h5").unlink()
    with crashing(step):
        repair(folder)
    done = repair(folder)
    assert verify(folder) == []
    assert sum(done.to_embed.values()) == 6
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows(range(6), matrices))
    check_plain(folder, everything(6))


def write_all(folder: Path, order: int, models: str, ready: object) -> None:
    """Commit contents 0 to 39 for `models` in shards, in an order of one's own."""
    ready.wait()  # type: ignore[attr-defined]
    numbers = list(range(40))
    numbers = numbers[order * 10 :] + numbers[: order * 10]
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance(m), "float32") for m in models]
        record_files(writer, numbers)
        for start in range(0, 40, 5):
            writer.commit(shard_rows(numbers[start : start + 5], matrices))
            if start == 20:
                compact(writer)


def test_four_writers_at_once_lose_and_duplicate_nothing(folder: Path) -> None:
    """Four processes with the same contents and overlapping models, compacting meanwhile, give each content one row
    and each cell its vector."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(4)
    workers = [
        context.Process(target=write_all, args=(folder, order, models, ready))
        for order, models in enumerate(("a", "b", "ab", "abc"))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0] * 4
    check_plain(folder, {sha256(n): {"a": True, "b": True, "c": True} for n in range(40)})
    assert verify(folder) == []
    with StoreWriter(folder) as writer:
        assert writer.ledger.changes().new == 40
        assert writer.ledger.contents.row_count() == 40


def hold(folder: Path, held: object) -> None:
    with StoreWriter(folder) as writer, writer.exclusive():
        held.set()  # type: ignore[attr-defined]
        time.sleep(60)


def test_a_dead_holder_of_the_lock_blocks_nobody(folder: Path) -> None:
    """A writer killed while it holds the lock leaves it free at once."""
    context = multiprocessing.get_context("fork")
    held = context.Event()
    holder = context.Process(target=hold, args=(folder, held))
    holder.start()
    assert held.wait(30)
    assert holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    start = time.monotonic()
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows(range(3), [writer.matrix(provenance("a"), "float32")]))
    assert time.monotonic() - start < 10
    check_plain(folder, {sha256(n): {"a": True} for n in range(3)})

"""A backup is a store: whole while others write, brought up to date, never half, and never in the place of more."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store import backup as backing_up
from pixelmill.store.backup import backup
from pixelmill.store.backup_target import MARK
from pixelmill.store.column_writer import begin
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.database import connect
from pixelmill.store.master import MASTER, PARTS
from pixelmill.store.reader import Store
from pixelmill.store.schema import LEDGER
from pixelmill.store.verify import repair, verify
from tests.support.crash import Crash, Steps
from tests.support.disk import small_disk
from tests.support.stores import (
    check_plain,
    facts_group,
    join_tags,
    provenance,
    read_plain,
    record_files,
    rounds_of,
    sha256,
    shard_rows,
)

ROOT = Path(__file__).parents[2]


def contents(count: int) -> dict[bytes, dict[str, bool]]:
    return {sha256(number): {"a": True} for number in range(count)}


def commit(folder: Path, *numbers: int) -> None:
    """A shard for each of the contents, with facts."""
    with StoreWriter(folder) as writer:
        facts = begin(writer, facts_group())
        for number in numbers:
            record_files(writer, range(number + 1))
            writer.commit(shard_rows([number], [writer.matrix(provenance("a"), "float32")], facts=facts))


def merge(folder: Path) -> None:
    """Few parts out of many; what they replace is gone at once."""
    with StoreWriter(folder) as writer:
        compact(writer, retention=-1)


def rows_in_ledger(folder: Path) -> int:
    with closing(connect(folder / LEDGER)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM rows").fetchone()[0])


def check(folder: Path, count: int) -> None:
    assert verify(folder) == []
    check_plain(folder, contents(count))


def test_a_backup_is_a_store_that_goes_on(folder: Path, tmp_path: Path) -> None:
    """It holds what the store holds, by the same manifest; one put back elsewhere does so again, knows all
    contents, and takes more."""
    commit(folder, *range(4))
    with StoreWriter(folder) as writer:
        join_tags(writer, 1)
    done = backup(folder, tmp_path / "backup")
    for name, values in read_plain(folder).items():
        np.testing.assert_array_equal(read_plain(tmp_path / "backup")[name], values)
    assert rounds_of(read_plain(tmp_path / "backup")) == [1] * 4
    assert (done.rows, done.copied, done.kept) == (4, 5, 0)
    check(tmp_path / "backup", 4)
    assert Store(tmp_path / "backup").manifest == Store(folder).manifest
    shutil.rmtree(folder)
    backup(tmp_path / "backup", folder)
    check(folder, 4)
    with StoreWriter(folder) as writer:
        assert writer.warnings == ()
        assert writer.ledger.contents.row_count() == 4
        writer.commit(shard_rows(range(5), [writer.matrix(provenance("a"), "float32")]))
    check(folder, 5)


def test_only_what_is_new_is_copied_and_what_was_merged_goes(folder: Path, tmp_path: Path) -> None:
    """A second backup copies the parts that the first one lacks; after a compaction it has no more than the store."""
    commit(folder, *range(3))
    target = tmp_path / "backup"
    backup(folder, target)
    before = {part: part.stat().st_mtime_ns for part in (target / PARTS).iterdir()}
    commit(folder, 3, 4)
    done = backup(folder, target)
    assert (done.copied, done.kept) == (2, 3)
    assert {part: part.stat().st_mtime_ns for part in before} == before
    assert (backup(folder, target).copied, done.rows) == (0, 5)
    check(target, 5)
    merge(folder)
    backup(folder, target)
    assert {part.name for part in (target / PARTS).iterdir()} == Store(folder).manifest.used_parts()
    check(target, 5)


def test_what_is_in_the_log_alone_is_copied(folder: Path, tmp_path: Path) -> None:
    """While a run has the ledger open its newest rows are in the write-ahead log; the file alone, as `cp` takes it,
    lacks them."""
    with StoreWriter(folder) as writer:
        writer.ledger.database.write("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.commit(shard_rows(range(3), [writer.matrix(provenance("a"), "float32")]))
        backup(folder, tmp_path / "backup")
        (tmp_path / "copied").mkdir()
        shutil.copy(folder / LEDGER, tmp_path / "copied")
        assert rows_in_ledger(tmp_path / "copied") == 0
    assert rows_in_ledger(tmp_path / "backup") == 3
    check(tmp_path / "backup", 3)


def test_runs_and_a_compaction_go_on_meanwhile(folder: Path, tmp_path: Path) -> None:
    """Parts that are merged away before they were copied are found where their rows lie by then; a commit in between
    is in the copy, or is not, and the ledger is never ahead."""
    commit(folder, *range(6))
    acts: list[Callable[[], None]] = [partial(merge, folder), partial(commit, folder, 6), partial(commit, folder, 7)]

    def meanwhile(done: int, _total: int) -> None:
        if done and acts:
            acts.pop(0)()

    done = backup(folder, tmp_path / "backup", meanwhile)
    assert len(acts) < 2, "it has begun again with the merged parts"
    assert 6 <= done.rows <= 8
    check(tmp_path / "backup", done.rows)
    check(folder, 8 - len(acts))


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", [True, False])
def test_one_that_is_cut_off_is_no_store_or_the_one_that_it_was(
    first: bool, every: int, folder: Path, tmp_path: Path
) -> None:
    """Wherever a backup dies, what is there is no store, or a sound one, of before or of now; the next one completes
    it."""
    commit(folder, *range(3))
    if not first:
        backup(folder, tmp_path / "before")
        commit(folder, 3)
        merge(folder)
        commit(folder, 4)
    count, fatal, died = (3 if first else 5), 0, "before"
    while died:
        target = tmp_path / f"{fatal}"
        if not first:
            shutil.copytree(tmp_path / "before", target)
        with dying(fatal) as steps:
            backup(folder, target)
        if (died := steps.died) and not (target / MASTER).exists():
            assert first, died
            with pytest.raises(StoreError, match=r"Expected a store with a vectors\.h5"):
                Store(target)
        else:
            rows = len(Store(target))
            assert rows in (3, count), died
            told = [damage.file for damage in verify(target)]
            assert told == [] or (told == ["manifest.json"] and not first), (died, told)
            check_plain(target, contents(rows))
        backup(folder, target)
        check(target, count)
        assert not list(target.rglob("*.tmp*"))
        fatal += every


class dying:  # noqa: N801 - a context manager
    """A backup in the block dies at its step number `fatal`: before or after something got its name."""

    NAMED = ("write_durably", "put_in_place", "_overwrite", "mark", "_copy_database", "sync_folder")

    def __init__(self, fatal: int) -> None:
        self.steps = Steps(fatal)
        self.patches = [mock.patch.object(backing_up, name, self.stepping(name)) for name in self.NAMED]

    def stepping(self, name: str) -> Callable[..., Any]:
        real = getattr(backing_up, name)

        def stepped(*arguments: Any, **options: Any) -> Any:
            self.steps.step(f"before {name}")
            done = real(*arguments, **options)
            self.steps.step(f"after {name}")
            return done

        return stepped

    def __enter__(self) -> Steps:
        for patch in self.patches:
            patch.start()
        return self.steps

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for patch in self.patches:
            patch.stop()
        return kind is Crash


def fill(target: Path, name: str) -> None:
    target.mkdir()
    (target / name).write_text("mine")


def test_anything_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    """A folder with other files, another store, a backup that has gone on by itself, a later backup than the store that
    was put back, and the store itself are refused by name, and not touched."""
    commit(folder, 0, 1)
    fill(tmp_path / "papers", "letter.txt")
    commit(tmp_path / "other", 0)
    for name in ("ahead", "later"):
        backup(folder, tmp_path / name)
    commit(tmp_path / "ahead", 2)
    shutil.copytree(folder, tmp_path / "old")
    commit(folder, 2)
    backup(folder, tmp_path / "later")
    commit(tmp_path / "old", 5, 6)
    refused = {
        "papers": (folder, r"It holds 'letter\.txt'"), "other": (folder, "Found another store"),
        "ahead": (folder, "gone on by itself"), "later": (tmp_path / "old", "was the store put back since"),
        "store": (folder, "outside of the store"), "store/within": (folder, "outside of the store"),
    }  # fmt: skip
    for name, (source, words) in refused.items():
        before = {path: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        with pytest.raises(StoreError, match=words):
            backup(source, tmp_path / name)
        assert {path: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()} == before


def test_an_empty_disk_is_taken_and_a_new_one_is_made(folder: Path, tmp_path: Path) -> None:
    """A new file system has a folder `lost+found`; folders above a target are made."""
    commit(folder, 0)
    (tmp_path / "disk/lost+found").mkdir(parents=True)
    backup(folder, tmp_path / "disk")
    backup(folder, tmp_path / "new/backups/store")
    check(tmp_path / "disk", 1)
    check(tmp_path / "new/backups/store", 1)


@pytest.mark.parametrize(
    "harm", ["altered", *(pytest.param(harm, marks=pytest.mark.slow) for harm in ("cut off", "missing", "unreadable"))]
)
def test_damage_is_not_copied(harm: str, folder: Path, tmp_path: Path) -> None:
    """A part that is not what was written, or cannot be read, is named, and the backup before stays as it was."""
    commit(folder, 0, 1)
    target = tmp_path / "backup"
    backup(folder, target)
    commit(folder, 2)
    part = folder / PARTS / next(iter(Store(folder).manifest.used_parts() - Store(target).manifest.used_parts()))
    content = part.read_bytes()
    part.unlink()
    if harm == "unreadable":
        part.mkdir()
    elif harm != "missing":
        part.write_bytes(content[:-1] + (b"" if harm == "cut off" else b"\x07"))
    with pytest.raises(
        StoreError, match=rf"{part}.*({'cannot be read' if harm == 'unreadable' else 'verify'})"
    ) as told:
        backup(folder, target)
    assert isinstance(told.value, StoreDamaged) == (harm != "unreadable")
    check(target, 2)
    assert not list(target.rglob("*.tmp*"))


def test_a_damaged_backup_is_mended_by_the_next(folder: Path, tmp_path: Path) -> None:
    """What it lacks is copied again: a part that is gone or cut off, the copy of the manifest, the ledger; one that
    `repair` has changed is no backup any more."""
    commit(folder, *range(4))
    target = tmp_path / "backup"
    backup(folder, target)
    gone, cut, *_ = sorted((target / PARTS).iterdir())
    gone.unlink()
    cut.write_bytes(b"")
    (target / "manifest.json").unlink()
    (target / LEDGER).unlink()
    assert backup(folder, target).rows == 4
    check(target, 4)
    gone.unlink()
    repair(target)
    with pytest.raises(StoreError, match="gone on by itself"):
        backup(folder, target)


def test_a_full_disk_is_told_with_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    """Nothing is begun that cannot be ended: the error has the bytes that are needed and those that are free."""
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows(range(900), [writer.matrix(provenance("a"), "float32")]))
    with small_disk(tmp_path / "disk", 200):
        with pytest.raises(StoreError, match=r"Expected [\d,]+ bytes of free space to write .* Found [\d,]+\. "):
            backup(folder, tmp_path / "disk" / "backup")
        assert not (tmp_path / "disk/backup" / MASTER).exists()
        subprocess.run(["mount", "-o", "remount,size=16m", str(tmp_path / "disk")], check=True)
        backup(folder, tmp_path / "disk" / "backup")
        check(tmp_path / "disk" / "backup", 900)


WRITES = """
import sys
from pathlib import Path
from tests.store.test_backup import commit, merge
for number in range(3, 60):
    commit(Path(sys.argv[1]), number)
    if number % 5 == 0:
        merge(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_killed_backups_of_a_store_that_is_written_to(folder: Path, tmp_path: Path) -> None:
    """The command, killed at any moment while a run commits and merges: what is there is sound or no store, the run
    goes on, and the last one is whole."""
    commit(folder, *range(3))
    target, seed, ended = tmp_path / "backup", random.Random(20), list[int]()
    command = [sys.executable, "-m", "pixelmill", "backup", str(folder)]
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "timed")], check=True, timeout=100)
    usual = time.monotonic() - began
    with subprocess.Popen([sys.executable, "-c", WRITES, str(folder)], cwd=ROOT) as writing:
        while writing.poll() is None or len(ended) < 20:
            with subprocess.Popen([*command, str(target)]) as killed:
                time.sleep(seed.uniform(0.6, 1.1) * usual)
                killed.kill()
            ended.append(killed.returncode)
            if (target / MASTER).exists():
                check_plain(target, contents(len(Store(target))))
                assert [damage.file for damage in verify(target)] in ([], ["manifest.json"])
    assert writing.returncode == 0
    assert ended.count(-signal.SIGKILL) > 5
    backup(folder, target)
    check(target, 60)
    assert (target / MARK).exists()

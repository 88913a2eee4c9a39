"""A revision is published once, by one, whatever the locks of the file system say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelmill.errors import StoreError
from pixelmill.store import commit as committing
from pixelmill.store import filesystem, master, presence, revisions
from pixelmill.store.column_writer import begin, drop, serve
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.revisions import KEPT, REVISIONS, PublishedMeanwhile
from pixelmill.store.verify import verify
from tests.support import machine
from tests.support.shim import compiled
from tests.support.stores import (
    check_aligned,
    check_plain,
    facts_group,
    join_tags,
    known_in,
    provenance,
    read_plain,
    rounds_of,
    sha256,
    shard_rows,
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


def contents(count: int) -> dict[bytes, dict[str, bool]]:
    return {sha256(number): {"a": True, "b": True} for number in range(count)}


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that exclude nobody."""
    monkeypatch.setattr(committing, "store_lock", lambda *_: nullcontext())
    monkeypatch.setattr(committing, "check_lock_excludes", lambda _: None)


@contextmanager
def meanwhile(act: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `act` happen once, while a writer has made its new master and has not published it."""
    real, waiting = master.master_bytes, [act]

    def slow(manifest: object) -> bytes:
        content = real(manifest)  # type: ignore[arg-type]
        while waiting:
            waiting.pop()()  # type: ignore[operator]
        return content

    with monkeypatch.context() as patched:
        patched.setattr(master, "master_bytes", slow)
        yield


def test_two_machines_whose_locks_do_not_meet_lose_no_row(shim: Path, folder: Path) -> None:
    """Two processes, to neither of which the other's locks reach, commit at once to one store, and join a column of it:
    every content that either acknowledged is there once, with its own vector, facts and tag, by plain h5py."""
    acknowledged, refused = machine.both(shim, folder, 12, "presence")
    assert refused == []
    assert len(acknowledged) == 48
    columns = read_plain(folder)
    assert sorted(check_aligned(columns)) == sorted(sha256(number) for number in acknowledged)
    assert known_in(columns["columns/light"]) == [True] * 48
    (joined,) = set(rounds_of(columns)) - {0}
    assert rounds_of(columns) == sorted(rounds_of(columns), reverse=True), f"tags of {joined}"


def test_without_names_made_once_two_machines_would_be_seen_to_lose_rows(shim: Path, folder: Path) -> None:
    """The control: where a revision is not claimed by its name, the same two machines lose rows that they acknowledged."""
    acknowledged, refused = machine.both(shim, folder, 12, "presence", "claim")
    with h5py.File(folder / "vectors.h5") as file:
        there = {row.tobytes() for row in file["images/sha256"][:]}
    assert refused or {sha256(number) for number in acknowledged} - there


def test_the_second_machine_is_refused_before_it_writes(shim: Path, folder: Path) -> None:
    """A writer to which the lock of another that lives does not reach is refused in words: SQLite would not survive it."""
    first = machine.start(shim, folder, 1, 3)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    second = machine.start(shim, folder, 2, 3)
    told, _ = second.communicate("\n", timeout=60)
    assert told.startswith(f"refused: Expected locks that reach every writer of {folder}.")
    assert f"(process {first.pid}) writes to it now" in told
    told, _ = first.communicate("\n", timeout=60)
    assert told.split() == [str(number) for number in range(1000, 1006)]
    third, _ = machine.start(shim, folder, 2, 1).communicate("\n", timeout=60)
    assert third.split() == ["ready", "2000", "2001"]


def test_a_copy_of_a_store_has_no_writers_of_the_original(
    folder: Path, tmp_path: Path, writer: StoreWriter, matrices: list[Matrix]
) -> None:
    """A store that is copied, or put back, while somebody writes to it keeps nobody out: that one writes elsewhere."""
    writer.commit(shard_rows([0], matrices))
    shutil.copytree(folder, tmp_path / "copy")
    with StoreWriter(tmp_path / "copy") as other:
        other.commit(shard_rows([1], matrices))
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    (folder / ".writers" / "1").write_bytes(b"0" * 20 + b" " + presence.Owner.this(folder / ".writers").line())
    with StoreWriter(folder) as other:
        other.commit(shard_rows([2], matrices))
    check_plain(folder, contents(3))


def test_a_writer_elsewhere_lives_while_it_gives_signs(
    shim: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process of another machine nobody here knows whether it lives: its file is watched. One that is killed is
    followed; no clock of the other machine is asked."""
    monkeypatch.setattr(filesystem, "mount_of", lambda _: filesystem.Mount("/", "fuse.sshfs"))
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(presence, "WATCHED_SECONDS", 1.0)
    with StoreWriter(folder):
        pass
    other = machine.start(shim, folder, 1, 3)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    (file,) = (folder / ".writers").iterdir()
    file.write_text("0" * 20 + " another-kernel 4711.1 elsewhere /there\n")
    beating = subprocess.Popen(
        ["sh", "-c", f"while sleep 0.1; do printf %020d $((n+=1)) | dd of={file} conv=notrunc status=none; done"]
    )
    try:
        with pytest.raises(StoreError, match=r"elsewhere \(process 4711\) writes to it now"):
            StoreWriter(folder)
    finally:
        beating.kill()
        beating.wait()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with StoreWriter(folder) as writer:
        assert not file.exists()
        shutil.rmtree(folder / ".writers")
        with pytest.raises(StoreError, match="has taken the store over"):
            writer.matrix(provenance("a"), "float32")


def test_an_overtaken_commit_goes_on_top_of_the_other(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], unlocked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that was overtaken while it made its master gives its contents rows after the other's; contents that
    both have get one row, though the ledger of neither knows of the other's."""
    with StoreWriter(folder) as other:
        monkeypatch.setattr(other.ledger.contents, "record_rows", lambda rows: None)
        with meanwhile(lambda: other.commit(shard_rows([1, 2], matrices)), monkeypatch):
            writer.commit(shard_rows([0, 1], matrices))
    assert [row.tobytes() for row in Store(folder).sha256()] == [sha256(number) for number in (1, 2, 0)]
    check_plain(folder, contents(3))


def test_everything_else_that_publishes_is_overtaken_as_well(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], unlocked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix that is made, served, continued or an ensemble that is kept while another machine commits takes nothing of
    that commit away."""
    from pixelmill.store.ensembles import keep

    with StoreWriter(folder) as other:
        acts = (
            lambda: writer.matrix(provenance("c"), "float32"),
            lambda: writer.matrix(provenance("a", version=1), "float32"),
            lambda: writer.continue_with(provenance("a").fingerprint),
            lambda: keep(writer, "both", ["a", "b"]),
        )
        for number, act in enumerate(acts):
            with meanwhile(lambda number=number: other.commit(shard_rows([number], matrices)), monkeypatch):
                act()
    columns = read_plain(folder)
    both = columns.pop("ensembles/both")
    np.testing.assert_array_equal(both, np.hstack([columns["vectors/a"], columns["vectors/b"]]))
    assert sorted(check_aligned(columns)) == sorted(contents(len(acts)))
    manifest = Store(folder).manifest
    assert [m.provenance.model for m in manifest.matrices] == ["b", "c", "a", "a"]
    assert [ensemble.name for ensemble in manifest.ensembles] == ["both"]


def test_whoever_publishes_columns_is_overtaken_as_well(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], unlocked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns that are begun, joined, served and dropped while another machine commits take nothing of that away; rows
    that it has added have no joined values yet."""
    first, second = facts_group(), facts_group("2")
    writer.commit(shard_rows([0], matrices))
    with StoreWriter(folder) as other:
        acts = (
            lambda: begin(writer, first),
            lambda: join_tags(writer, 1),
            lambda: begin(writer, second),
            lambda: serve(writer, second.fingerprint),
            lambda: drop(writer, ["tag"]),
        )
        joined = []
        for number, act in enumerate(acts, 1):
            given = shard_rows(range(number + 1), matrices, facts=second if number == 4 else first)
            with meanwhile(lambda given=given: other.commit(given), monkeypatch):
                if number == 4:
                    other.commit(given)
                act()
            columns = read_plain(folder)
            assert sorted(check_aligned(columns)) == sorted(contents(number + 1))
            joined.append(rounds_of(columns))
    assert joined == [[], [1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0, 0], []]
    assert [(group.version, group.serving) for group in Store(folder).manifest.columns] == [("2", True)]
    assert verify(folder) == []


def test_one_who_slept_publishes_nothing_old(folder: Path, writer: StoreWriter, matrices: list[Matrix]) -> None:
    """A manifest from so long ago that the name after it is forgotten cannot be published."""
    old = Store(folder).manifest
    for number in range(KEPT + 2):
        writer.commit(shard_rows([number], matrices))
    assert len(list((folder / REVISIONS).iterdir())) == KEPT
    with pytest.raises(PublishedMeanwhile):
        master.publish(folder, old)
    with pytest.raises(PublishedMeanwhile):
        revisions.claim(folder, old.revision + 1, (folder / "manifest.json").read_bytes())
    check_plain(folder, contents(KEPT + 2))


def test_a_file_system_without_links_has_other_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no hard links (FAT, some shares), a name is made by O_EXCL; a dead writer's half-written one is
    passed over."""

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    with StoreWriter(folder) as writer:
        matrices = [writer.matrix(provenance(model), "float32") for model in "ab"]
        writer.commit(shard_rows([0], matrices))
        half = folder / REVISIONS / f"{Store(folder).manifest.revision + 1}.json"
        half.write_bytes((folder / "manifest.json").read_bytes()[:100])
        writer.commit(shard_rows([1], matrices))
        assert verify(folder) == []
    check_plain(folder, contents(2))


def test_where_names_can_be_made_twice_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that honours neither link nor O_EXCL is refused in words, and no store is made."""
    real = os.link

    def twice(path: Path, target: Path) -> None:
        path.unlink(missing_ok=True)
        real(target, path)

    monkeypatch.setattr(Path, "hardlink_to", twice)
    with pytest.raises(StoreError, match="Found that it can be made twice"):
        StoreWriter(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "parts"]


def test_a_reader_is_not_told_of_damage_while_a_network_shows_half_of_a_master(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshfs shows a new master with the size of the old one for a while: readers take the revision by its name, which never
    changes. On a local disk it is damage, and said; verify says it anywhere."""
    writer.commit(shard_rows([0], matrices))
    whole = (folder / "vectors.h5").read_bytes()
    (folder / "vectors.h5").write_bytes(whole[:-100])
    with pytest.raises(StoreError, match="repair"):
        Store(folder)
    monkeypatch.setattr(filesystem, "mount_of", lambda _: filesystem.Mount("/", "fuse.sshfs"))
    monkeypatch.setattr("pixelmill.store.verify.STALE_SECONDS", 0)
    assert [row.tobytes() for row in Store(folder).sha256()] == [sha256(0)]
    assert "vectors.h5" in {damage.file for damage in verify(folder)}

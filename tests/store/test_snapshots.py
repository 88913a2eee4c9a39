"""Readers see whole snapshots: during commits, moves, a switch of generations, compaction and the deletion of parts."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelmill.errors import StoreDamaged
from pixelmill.sources.found import FoundFile
from pixelmill.store.column_writer import begin, serve
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import RETENTION, compact
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.stores import (
    SOURCE,
    Columns,
    check_aligned,
    check_plain,
    check_sizes,
    columns_of,
    facts_group,
    join_tags,
    known_in,
    provenance,
    read_own,
    read_plain,
    rounds_of,
    sha256,
    shard_rows,
)

SHORT = 2.0
"""Seconds that retired parts are kept while readers run here; a day by default."""
HELD = 0.5
ENOUGH_DELETED = 30
MOST_SECONDS = 60
PER_ROUND = 3


class Nightly:
    """A writer that does everything there is to do to a store, round by round. In each snapshot that it publishes every
    row of every model is embedded and has its facts, all files lie in one folder, and all tags are of one round, whose
    numbers never fall."""

    def __init__(self, writer: StoreWriter, retention: float = SHORT) -> None:
        self.writer, self.retention = writer, retention
        self.count = self.round = self.deleted = 0
        self.served = self.generation(0)
        self.facts = begin(writer, facts_group())
        self.other = writer.matrix(provenance("b"), "float16")

    def generation(self, number: int) -> Matrix:
        return self.writer.matrix(provenance("a", dim=3 + number, version=number), "float32")

    def do_round(self) -> None:
        self.add(PER_ROUND)
        self.move()
        self.switch()
        self.remake()
        join_tags(self.writer, self.round)
        self.add(1)
        self.deleted += compact(self.writer, retention=self.retention).deleted

    def add(self, count: int) -> None:
        numbers = range(self.count, self.count + count)
        given = shard_rows(numbers, [self.served, self.other], facts=self.facts)
        for content, number in zip(given.contents, numbers, strict=True):
            object.__setattr__(content, "file", self.file(number))
        self.count += count
        self.scan()
        self.writer.commit(given)

    def move(self) -> None:
        """All files move to the next folder, and are found there."""
        self.round += 1
        self.scan()
        self.writer.ledger.contents.record_read((self.file(n), n) for n in range(self.count))
        assert self.writer.update_locations(range(self.count)) == self.count

    def switch(self) -> None:
        """A new generation, half of it and then the rest; each time it is asked whether it may be served."""
        new = self.generation(self.round)
        self.writer.commit(shard_rows(range(self.count // 2), [new]))
        assert self.writer.serve([new.provenance.fingerprint]) == []
        self.writer.commit(shard_rows(range(self.count // 2, self.count), [new]))
        assert self.writer.serve([new.provenance.fingerprint]) == ["a"]
        self.served = new

    def remake(self) -> None:
        """All facts by another version, which takes over when they are there."""
        self.facts = begin(self.writer, facts_group("2" if self.facts.version == "1" else "1"))
        self.writer.commit(shard_rows(range(self.count), [], facts=self.facts))
        assert serve(self.writer, self.facts.fingerprint)

    def scan(self) -> None:
        scan = self.writer.ledger.scans.begin()
        self.writer.ledger.scans.record(scan, [self.file(n) for n in range(self.count)])
        self.writer.ledger.scans.mark_gone(scan, SOURCE)

    def file(self, number: int) -> FoundFile:
        return FoundFile(SOURCE, f"{self.round}/{number}.png", 10, 1, 1)


@dataclass(frozen=True)
class Look:
    """What one snapshot was: its rows, the folder that its files lie in, the generation of model `a`, the round of its
    tags."""

    rows: int
    folder: int
    generation: int
    tags: int = 0


def check_whole(columns: Columns) -> Look:
    """The snapshot is whole, and one that the writer published."""
    rows = check_aligned(columns)
    check_sizes(columns)
    for name in ("vectors/a", "vectors/b"):
        assert np.isfinite(columns[name]).all(), f"{name} has rows of fill"
    assert rows == [sha256(n) for n in range(len(rows))]
    paths = [path.decode() for path in columns["images/path"]]
    folders = {path.split("/")[0] for path in paths}
    assert len(folders) <= 1, "paths of two snapshots"
    assert paths == [f"{folder}/{n}.png" for folder in folders for n in range(len(rows))]
    assert set(columns["images/source"]) <= {SOURCE.encode()}
    if rows:
        assert all(known_in(columns["columns/light"])), "facts of two snapshots"
    tags = rounds_of(columns)
    assert tags == sorted(tags, reverse=True), "a row that was there has no tag"
    assert len(set(tags) - {0}) <= 1, "tags of two snapshots"
    folder = int(folders.pop()) if folders else 0
    return Look(len(rows), folder, columns["vectors/a"].shape[1] - 3, max(tags, default=0))


def look_plain(folder: Path, hold: float) -> Look:
    """Open with plain h5py, read, and read again after a while from the file that was held open."""
    with h5py.File(folder / "vectors.h5", "r") as file:
        look = check_whole(columns_of(file))
        if hold:
            time.sleep(hold)
            assert check_whole(columns_of(file)) == look
    return look


def look_plain_late(folder: Path, hold: float) -> Look:
    """Open with plain h5py, and read only after a while: the parts are opened then."""
    with h5py.File(folder / "vectors.h5", "r") as file:
        time.sleep(hold)
        return check_whole(columns_of(file))


def look_own(folder: Path, hold: float) -> Look:
    """Open with our reader, read, and read again after a while from the snapshot that was held."""
    store = Store(folder)
    look = check_whole(read_own(store))
    if hold:
        time.sleep(hold)
        assert check_whole(read_own(store)) == look
    return look


def look_own_late(folder: Path, hold: float) -> Look:
    """Open with our reader, and read only after a while."""
    store = Store(folder)
    time.sleep(hold)
    return check_whole(read_own(store))


PLAIN, OWN = (look_plain, look_plain_late), (look_own, look_own_late)


@dataclass
class Seen:
    """What a reader saw: its looks in order, and how many were too slow for this test's short retention."""

    looks: list[Look] = field(default_factory=list)
    too_slow: int = 0
    error: str = ""


def read_on(folder: Path, ways: tuple[Callable[[Path, float], Look], ...], done: Event, answer: Connection) -> None:
    """Look again and again, every fourth time holding on to the snapshot, until the writer is done."""
    seen = Seen()
    while not done.is_set() and not seen.error:
        number = len(seen.looks) + seen.too_slow
        start = time.monotonic()
        try:
            look = ways[number // 4 % 2](folder, HELD if number % 4 == 0 else 0)
        except Exception:
            seen.error = traceback.format_exc()
        if time.monotonic() - start > SHORT - 0.5:  # nobody promised that it can be read for so long
            seen.too_slow, seen.error = seen.too_slow + 1, ""
        elif not seen.error:
            seen.looks.append(look)
    answer.send(seen)


def test_readers_see_whole_snapshots_only(folder: Path) -> None:
    """Two readers, plain h5py and ours, look at the store while a writer commits, moves files, switches generations,
    compacts and deletes retired parts: no error, no fill, no mix, no step back, and a held snapshot stays as it was."""
    context = multiprocessing.get_context("fork")
    done = context.Event()
    with StoreWriter(folder) as writer:
        night = Nightly(writer)
        night.add(1)
        pipes = [context.Pipe() for _ in range(2)]
        readers = [
            context.Process(target=read_on, args=(folder, ways, done, pipe[1]), daemon=True)
            for ways, pipe in zip((PLAIN, OWN), pipes, strict=True)
        ]
        for reader in readers:
            reader.start()
        started = time.monotonic()
        try:
            while night.deleted < ENOUGH_DELETED and time.monotonic() - started < MOST_SECONDS:
                night.do_round()
        finally:
            done.set()
    for reader, (receiver, _) in zip(readers, pipes, strict=True):
        assert receiver.poll(60)
        check_seen(receiver.recv(), night)
        reader.join(60)
    assert night.deleted >= ENOUGH_DELETED
    check_whole(read_plain(folder))
    assert verify(folder) == []


def check_seen(seen: Seen, night: Nightly) -> None:
    """The reader met no fault, looked often, saw much of what was done, and nothing ever went back."""
    assert not seen.error, seen.error
    assert len(seen.looks) > seen.too_slow
    for name in ("rows", "folder", "generation", "tags"):
        values = [getattr(look, name) for look in seen.looks]
        assert values == sorted(values), f"{name} went back"
        assert len(set(values)) > night.round / 4, f"too few {name} seen for this to prove anything"


@pytest.mark.parametrize("look", [*PLAIN, *OWN])
def test_deletion_at_once_would_be_seen(
    look: Callable[[Path, float], Look], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without retention a held snapshot loses its parts: silent fill in plain h5py, StoreDamaged from our reader, and
    the checks of this file see it. Only what our reader has read before is mapped, and stays."""
    with StoreWriter(folder) as writer:
        night = Nightly(writer)
        night.add(2)
        night.add(2)
        monkeypatch.setattr(time, "sleep", lambda _: compact(writer, retention=-1))
        if look is look_own:
            assert look(folder, HELD) == Look(4, 0, 0)
        else:
            with pytest.raises((AssertionError, StoreDamaged), match=r"one row a content|cannot be opened"):
                look(folder, HELD)
    assert check_whole(read_plain(folder)) == Look(4, 0, 0)


@pytest.mark.parametrize("look", [look_plain_late, look_own_late])
def test_a_snapshot_stays_for_a_day(
    look: Callable[[Path, float], Look], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot held for nearly 23 hours after its parts were retired, through all that a writer does, is read as it
    was, while the parts that were retired before it are deleted."""
    hours = Hours(monkeypatch)
    with StoreWriter(folder) as writer:
        night = Nightly(writer, retention=RETENTION)
        night.add(2)
        night.do_round()
        retired = len(Store(folder).manifest.retired)
        before = look(folder, 0)

        def nearly_a_day(_: float) -> None:
            hours.pass_by(2)
            night.do_round()
            hours.pass_by(22.9)
            night.do_round()

        monkeypatch.setattr(time, "sleep", nearly_a_day)
        assert look(folder, HELD) == before
        assert night.deleted == retired > 3
    check_plain(folder, {sha256(n): {"a": True, "b": True} for n in range(night.count)})


class Hours:
    """The clock by which a compaction retires parts and deletes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        for module in ("compact", "expiry"):
            monkeypatch.setattr(f"pixelmill.store.{module}.clock", lambda _: self.now)

    def pass_by(self, hours: float) -> None:
        self.now += hours * 3600

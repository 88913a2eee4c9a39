"""Whoever embeds a shard sees by its order alone what the store sees: what is there already, and what it lacks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.errors import StoreError
from pixelmill.plan import Coverage, Plan, make_plan
from pixelmill.run import shard_orders
from pixelmill.run.shard_orders import ShardOrders
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.rows import Content, Failure, ShardRows, Vectors
from pixelmill.travel.shard_order import ShardOrder, prefixes_in
from tests.support.stores import SOURCE, provenance, sha256, size, vector

NUMBERS = range(12)
BAD = 7
"""The content that no model takes."""
PATHS = ("a", "b", "c", "d", "e", "unsized/f", "unsized/g")
NUMBER_OF = {sha256(number): number for number in range(400)}


def bytes_of(number: int) -> int:
    """The size of a content in bytes, which three share."""
    return 100 + number // 3


class Photos:
    """A folder of numbered contents beside a store, and runs over it whose workers know nothing but their orders."""

    def __init__(self, folder: Path) -> None:
        self.writer = StoreWriter(folder)
        self.held: dict[str, int] = {}
        self.times: dict[str, int] = {}
        self._clock = itertools.count(1)
        self.made: Counter[tuple[int, str]] = Counter()
        """How often which model embedded which content."""
        self.scanned = 0

    def put(self, path: str, number: int) -> None:
        self.held[path] = number
        self.touch(path)

    def move(self, path: str, to: str) -> None:
        if path in self.held:
            self.held[to], self.times[to] = self.held.pop(path), self.times[path]

    def touch(self, path: str) -> None:
        if path in self.held:
            self.times[path] = next(self._clock)

    def remove(self, path: str) -> None:
        self.held.pop(path, None)

    def file(self, path: str) -> FoundFile:
        number, time = self.held[path], self.times[path]
        return FoundFile(SOURCE, path, 0 if path.startswith("unsized/") else bytes_of(number), time, time)

    def scan(self) -> None:
        scans = self.writer.ledger.scans
        self.scanned = scans.begin()
        scans.record(self.scanned, [self.file(path) for path in sorted(self.held)])
        scans.mark_gone(self.scanned, SOURCE)

    def matrices(self, models: str) -> list[Matrix]:
        return [self.writer.matrix(provenance(model), "float32") for model in models]

    def planned(self, models: str, shard_size: int = 2) -> tuple[Plan, ShardOrders]:
        self.scan()
        matrices = self.matrices(models)
        plan = make_plan(self.writer.ledger, self.writer.snapshot(), matrices, self.scanned, shard_size)
        return plan, ShardOrders(self.writer, matrices, self.scanned)

    def orders(self, models: str, shard_size: int = 2) -> Iterator[tuple[ShardOrder, np.ndarray | None]]:
        """The orders of a run as they come out of their messages, one by one, with the prefixes."""
        plan, orders = self.planned(models, shard_size)
        data = orders.prefixes()
        assert orders.needs_prefixes == (data is not None)
        prefixes = prefixes_in(data) if data else None
        fingerprints = [matrix.provenance.fingerprint for matrix in self.matrices(models)]
        for shard in plan.shards:
            yield ShardOrder.of(orders.order(shard, fingerprints).message()), prefixes

    def embed(self, order: ShardOrder, prefixes: np.ndarray | None) -> ShardRows:
        """What a worker makes of an order: like `embedding/shard.py`, without pixels."""
        rows, wanted = ShardRows(), dict[bytes, frozenset[str]]()
        for file in order.files:
            content = sha256(self.held[file.path])
            lacking = order.lacking(content, prefixes)
            if content in wanted or not lacking:
                rows.copies.append((file, content))
                continue
            wanted[content] = lacking
            bad = NUMBER_OF[content] == BAD
            rows.contents.append(Content(file, content, *((0, 0) if bad else size(content))))
            if bad:
                rows.failures.append(Failure(file.absolute, content, "decode", "bad"))
        for matrix in self.writer.snapshot().manifest.matrices:
            made = matrix.provenance
            index = [i for i, (c, lacking) in enumerate(wanted.items())
                     if made.fingerprint in lacking and NUMBER_OF[c] != BAD]  # fmt: skip
            if index:
                contents = [rows.contents[i].sha256 for i in index]
                values = np.stack([vector(content, made.model, made.dim) for content in contents])
                rows.vectors[made.fingerprint] = Vectors(np.array(index), values)
                self.made.update((NUMBER_OF[content], made.model) for content in contents)
        return rows

    def night(
        self, models: str, *, most: int | None = None, settled: bool = True, shard_size: int = 2
    ) -> list[ShardOrder]:
        """A run; cut off after `most` shards. The orders that it gave."""
        done = list[ShardOrder]()
        for order, prefixes in self.orders(models, shard_size):
            if most is None or len(done) < most:
                self.writer.commit(self.embed(order, prefixes))
                done.append(order)
        if settled:
            self.writer.update_locations(self.writer.ledger.changes().stale_rows)
            self.writer.ledger.settle()
        return done

    def lacking(self, models: str) -> dict[int, frozenset[str]]:
        """What each content lacks, as the store and its ledger know."""
        rows = self.writer.ledger.contents.rows_of([sha256(number) for number in NUMBERS])
        coverage = Coverage(self.writer.snapshot(), self.writer.ledger, self.matrices(models))
        return {number: coverage.lacking(rows.get(sha256(number))) for number in NUMBERS}

    def sized(self) -> set[int]:
        """The contents of which a file tells the size in bytes."""
        query = "SELECT sha256 FROM files JOIN rows USING (row) WHERE size > 0"
        return {NUMBER_OF[sha] for (sha,) in self.writer.ledger.database.cells(query) if isinstance(sha, bytes)}

    def known(self) -> set[str]:
        """The paths whose content the ledger knows."""
        images = self.writer.ledger.worklist.images(self.scanned)
        return {file.path for file, row in images if row is not None}


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[Photos]:
    made = Photos(tmp_path / "store")
    yield made
    made.writer.close()


SOME_PATH, SOME_NUMBER = st.sampled_from(PATHS), st.sampled_from(NUMBERS)
STEPS = st.one_of(
    st.tuples(st.just("put"), SOME_PATH, SOME_NUMBER),
    st.tuples(st.just("move"), SOME_PATH, SOME_PATH),
    st.tuples(st.just("touch"), SOME_PATH),
    st.tuples(st.just("remove"), SOME_PATH),
    st.tuples(st.just("scan")),
    st.tuples(st.just("night"), st.sampled_from(["a", "b", "ab"]), st.sampled_from([None, 0, 1]), st.booleans()),
)


HISTORIES = {
    "first": st.dictionaries(SOME_PATH, SOME_NUMBER, min_size=3),
    "history": st.lists(STEPS, min_size=2, max_size=8),
    "models": st.sampled_from(["a", "ab"]),
    "crowd": st.sampled_from([1, 64]),
}
History = list[tuple[Any, ...]]


@settings(max_examples=10, deadline=None)
@given(**HISTORIES)
def test_an_order_tells_what_the_store_would(first: dict[str, int], history: History, models: str, crowd: int) -> None:
    """Whatever happened before, and whatever a file of the shard turns out to hold: a worker embeds what the store
    lacks. Only a content that lacked something when the run began, and whose size or the file's nobody knows, it may
    embed as a whole."""
    check_orders(first, history, models, crowd)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(**HISTORIES)
def test_an_order_tells_what_the_store_would_after_many_histories(
    first: dict[str, int], history: History, models: str, crowd: int
) -> None:
    """The same, for longer."""
    check_orders(first, history, models, crowd)


def check_orders(first: dict[str, int], history: History, models: str, crowd: int) -> None:
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_orders, "CROWD", crowd)
        photos = Photos(Path(scratch) / "store")
        for path, number in first.items():
            photos.put(path, number)
        photos.night("a")
        for step, *arguments in history:
            if step == "night":
                photos.night(arguments[0], most=arguments[1], settled=arguments[2])
            else:
                getattr(photos, step)(*arguments)
        photos.scan()
        sized, lacked, known = photos.sized(), photos.lacking(models), photos.known()
        for order, prefixes in photos.orders(models):
            lacking = photos.lacking(models)
            for file in order.files:
                own, unsized = photos.held[file.path], not file.size
                for number in {own} if file.path in known else NUMBERS:
                    if number == own or unsized or bytes_of(number) == file.size:
                        told = order.lacking(sha256(number), prefixes)
                        whole = lacked[number] and (unsized or number not in sized) and told == set(order.fingerprints)
                        assert told == lacking[number] or whole, (file, number)
            photos.writer.commit(photos.embed(order, prefixes))
        photos.writer.close()


def test_renamed_and_copied_files_cost_no_model(photos: Photos) -> None:
    """Their contents are listed, as lacking nothing: a worker that has never seen the store reads them and embeds
    none; no prefix is needed for them."""
    for number in range(6):
        photos.put(f"a{number}", number)
    photos.night("a")
    made = dict(photos.made)
    for number in range(3):
        photos.move(f"a{number}", f"moved{number}")
        photos.put(f"copy of {number}", number + 3)
    _, orders = photos.planned("a")
    assert not orders.needs_prefixes
    done = photos.night("a")
    assert photos.made == made
    assert sum(len(order.files) for order in done) == 6
    assert all(order.contents[sha256(photos.held[f.path])] == frozenset() for order in done for f in order.files)


def test_a_touched_file_is_sent_with_what_it_held(photos: Photos) -> None:
    """And that is known by its prefix too: its size when it was read is on record no more, so others may hold it."""
    for number in range(3):
        photos.put(f"a{number}", number)
    photos.night("a")
    made = dict(photos.made)
    photos.touch("a1")
    photos.put("a1", 5)
    photos.put("b", 1)
    orders = list(photos.orders("a", shard_size=1))
    assert [order.lacking(sha256(1), prefixes) for order, prefixes in orders] == [frozenset()] * 2
    assert list(orders[0][0].contents) == [sha256(1)]
    photos.night("a")
    assert photos.made == {**made, (5, "a"): 1}


def test_what_lacks_a_second_model_is_listed_with_just_that(photos: Photos) -> None:
    """Also under a new name; what is in quarantine lacks nothing, ever."""
    for number in (1, 2, BAD):
        photos.put(f"a{number}", number)
    photos.night("a")
    photos.move("a2", "moved")
    photos.put("copy", BAD)
    (order, prefixes), *_ = photos.orders("ab", shard_size=9)
    second = provenance("b").fingerprint
    assert sorted(file.path for file in order.files) == ["a1", "copy", "moved"]
    assert prefixes is None
    told = [order.lacking(sha256(number)) for number in (1, 2, BAD, 5)]
    assert told == [{second}, {second}, set(), set(order.fingerprints)]


def test_an_order_for_some_models_asks_for_these(photos: Photos) -> None:
    """A worker that fills one of two matrices is told what lacks that one."""
    photos.put("a", 1)
    photos.night("a")
    photos.move("a", "b")
    plan, orders = photos.planned("ab")
    first, second = (provenance(model).fingerprint for model in "ab")
    assert orders.order(plan.shards[0], [first]).contents == {sha256(1): frozenset()}
    assert orders.order(plan.shards[0], [second]).contents == {sha256(1): frozenset({second})}


def test_sizes_that_no_listing_tells_need_prefixes(photos: Photos) -> None:
    """A source that tells no size: the contents that lack nothing travel as prefixes, and none is embedded again."""
    for number in range(5):
        photos.put(f"a{number}", number)
    photos.night("a")
    made = dict(photos.made)
    for number in range(5):
        photos.put(f"unsized/{number}", number)
    (order, prefixes), *_ = photos.orders("a", shard_size=9)
    assert prefixes is not None
    assert len(prefixes) == 5
    assert not order.contents
    photos.night("a")
    assert photos.made == made


def test_contents_that_no_file_holds_any_more_need_prefixes(photos: Photos) -> None:
    """What was forgotten with its file, and is put back from somewhere, is not embedded again. Nor do all others
    travel for its sake."""
    for number in range(5):
        photos.put(f"a{number}", number)
    photos.night("a")
    made = dict(photos.made)
    photos.remove("a3")
    photos.night("a")
    photos.put("back", 3)
    (order, prefixes), *_ = photos.orders("a")
    assert prefixes is not None
    assert len(prefixes) == 1
    assert order.lacking(sha256(3), prefixes) == frozenset()
    photos.night("a")
    assert photos.made == made


def test_many_contents_of_one_size_travel_as_prefixes(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred, as of pictures that are not compressed, are in no order; those that lack something are, up to a
    bound, the newest first."""
    monkeypatch.setattr(sys.modules[__name__], "bytes_of", lambda _number: 921_654)
    for number in range(100, 200):
        photos.put(f"a{number}", number)
    photos.night("a", shard_size=33)
    made = dict(photos.made)
    photos.move("a150", "moved")
    (order, prefixes), *_ = photos.orders("a")
    assert prefixes is not None
    assert len(prefixes) == 100
    assert not order.contents
    photos.night("a", shard_size=33)
    assert photos.made == made
    photos.move("a120", "moved too")
    monkeypatch.setattr(shard_orders, "LISTED", 10)
    order, prefixes = list(photos.orders("ab", shard_size=1))[-1]
    assert prefixes is None
    assert [file.path for file in order.files] == ["moved too"]
    newest = photos.writer.snapshot().sha256()[-10:]
    assert set(order.contents) == {bytes(content) for content in newest}


def test_what_this_run_has_stored_is_known_to_later_orders(photos: Photos) -> None:
    """Of new pictures that lie in several folders each is embedded once, though nothing was stored when the run began,
    and one of the folders tells no sizes."""
    for number in range(6):
        photos.put(f"a/{number}", number)
        photos.put(f"b/{number}", number)
        photos.put(f"unsized/{number}", number)
    photos.night("ab")
    assert set(photos.made.values()) == {1}
    assert len(photos.writer.snapshot()) == 6


def test_orders_do_not_grow_with_what_a_run_has_stored(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pictures share few sizes, as thumbnails do, an order lists of what came since the run began the newest, up
    to a bound over all sizes."""
    monkeypatch.setattr(sys.modules[__name__], "bytes_of", lambda number: 100 + number % 2)
    monkeypatch.setattr(shard_orders, "LISTED", 4)
    for number in range(100, 124):
        photos.put(f"a{number}", number)
    for order, prefixes in photos.orders("a", shard_size=6):
        newest = [row.tobytes() for row in photos.writer.snapshot().sha256()[-4:]]
        assert set(order.contents) == set(newest)
        photos.writer.commit(photos.embed(order, prefixes))
    assert len(photos.writer.snapshot()) == 24


def test_where_every_content_is_known_nothing_is_looked_up(photos: Photos) -> None:
    """A new model over an old folder, whatever the sizes: each file is sent with its own content, and no other."""
    for number in range(4):
        photos.put(f"unsized/{number}", number)
    photos.night("a")
    photos.touch("unsized/1")
    photos.night("a")
    for order, prefixes in photos.orders("ab"):
        assert prefixes is None
        assert set(order.contents) == {sha256(photos.held[file.path]) for file in order.files}


def test_a_touched_file_of_unknown_size_is_sent_with_what_it_held(photos: Photos) -> None:
    """And with what that lacks."""
    photos.put("unsized/1", 1)
    photos.night("a")
    photos.touch("unsized/1")
    (order, _), *_ = photos.orders("ab")
    assert order.contents == {sha256(1): frozenset({provenance("b").fingerprint})}


def test_orders_keep_nobody_from_writing(photos: Photos, tmp_path: Path) -> None:
    """What is looked up lies in no transaction and in no log: another process commits, and the log is emptied."""
    for number in range(6):
        photos.put(f"a{number}", number)
    photos.night("a")
    photos.put("more", 9)
    log = tmp_path / "store" / "ledger.sqlite-wal"
    photos.scan()
    matrices = photos.matrices("ab")
    plan = make_plan(photos.writer.ledger, photos.writer.snapshot(), matrices, photos.scanned, 2)
    before = log.stat().st_size
    orders = ShardOrders(photos.writer, matrices, photos.scanned)
    for shard in plan.shards:
        orders.order(shard, [matrices[0].provenance.fingerprint])
    assert log.stat().st_size == before
    with StoreWriter(tmp_path / "store") as other:
        number = other.ledger.scans.begin()
        other.ledger.scans.record(number, [photos.file("more")])
        busy = next(other.ledger.database.cells("PRAGMA wal_checkpoint(TRUNCATE)"))[0]
    assert not busy
    assert log.stat().st_size == 0
    assert orders.order(plan.shards[0], []).files == ()


def test_a_ledger_that_is_ahead_of_the_store_is_not_believed(photos: Photos) -> None:
    """As one that was put back from another backup than the store: a row that the store lacks is nothing that it has."""
    photos.put("a", 1)
    photos.night("a")
    photos.move("a", "b")
    plan, orders = photos.planned("a")
    photos.writer.ledger.database.write("UPDATE files SET row = 7 WHERE row = 0")
    orders = ShardOrders(photos.writer, photos.matrices("a"), photos.scanned)
    order = orders.order(plan.shards[0], [provenance("a").fingerprint])
    assert order.contents == {}
    assert order.lacking(sha256(1), prefixes_in(orders.prefixes() or b"")) == frozenset()


def test_a_plan_that_is_gone_is_told(photos: Photos) -> None:
    """As after a repair in the middle of the run."""
    photos.put("a", 1)
    plan, orders = photos.planned("a")
    with pytest.raises(StoreError, match="Expected the plan of run"):
        orders.order(replace(plan.shards[0], images=2), [])


def test_who_gives_orders_needs_no_torch() -> None:
    """A coordinator has no model in memory, nor what makes one."""
    checked = "import pixelmill.run.shard_orders, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", checked], check=False).returncode == 0


def test_every_order_of_a_large_plan_is_as_told(photos: Photos) -> None:
    """The files of all orders are the plan's, each once and in order."""
    for number in range(30):
        photos.put(f"{number:02}", number)
    files: Sequence[str] = [file.path for order, _ in photos.orders("a", shard_size=7) for file in order.files]
    assert files == [f"{number:02}" for number in range(30)]

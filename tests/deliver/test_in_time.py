"""A delivery ends in time, whatever its target does, and the next one goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pixelmill.deliver import base, in_time, targets
from pixelmill.deliver.base import Changes
from pixelmill.deliver.deliver import check, deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.generation import Generation
from pixelmill.deliver.in_time import deliver_in_time
from pixelmill.deliver.parquet import ParquetTarget
from pixelmill.deliver.record import last, turn
from pixelmill.errors import DeliveryLeft
from pixelmill.report.deliveries import line
from pixelmill.watch import calls, stopping
from tests.support.delivered import BLOCK, ROWS, rows_in, store_of_blocks
from tests.support.engines import Chroma, Milvus, Qdrant
from tests.support.targets.asking import watched


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three blocks of rows."""
    monkeypatch.setattr(base, "BLOCK", BLOCK)
    return store_of_blocks(tmp_path / "store")


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    return Delivery(name="search", to=f"parquet:{tmp_path}/out", models=("a",))


Before = Callable[[Callable[[], None]], None]


@pytest.fixture
def before_writing(monkeypatch: pytest.MonkeyPatch) -> Before:
    """Has something done before each block is written; the target is real."""

    def meanwhile(do: Callable[[], None]) -> None:
        class Target(ParquetTarget):
            def write(self, generation: Generation, changes: Changes) -> None:
                do()
                super().write(generation, changes)

        monkeypatch.setitem(targets._OPENERS, "parquet", Target)

    return meanwhile


def test_it_ends_between_two_blocks_at_the_deadline(store: Path, delivery: Delivery, before_writing: Before) -> None:
    """With what was sent kept and what is behind told; readers see nothing of it yet, and the next one goes on."""
    began: list[float] = []
    before_writing(lambda: began.append(time.time()))
    done = deliver(store, delivery, is_over=lambda: bool(began))
    assert (done.sent, done.behind, done.problem, done.equal_at) == (BLOCK, ROWS - BLOCK, "", "")
    assert not (Path(delivery.to.partition(":")[2]) / "search/current.json").exists()
    rest = deliver_in_time(store, delivery)
    assert (rest.sent, rest.behind, rest.is_equal) == (ROWS - BLOCK, 0, True)
    assert len(rows_in(delivery.to.partition(":")[2], "search")) == ROWS


def test_a_deadline_that_is_over_is_a_look_at_the_target(store: Path, delivery: Delivery) -> None:
    """Nothing is sent; whether there is anything to send is known all the same."""
    late = deliver_in_time(store, delivery, deadline=time.time() - 1)
    assert (late.sent, late.behind) == (0, ROWS)
    assert line(late).startswith(f"search: Nothing sent. At most {ROWS} rows are behind")
    deliver_in_time(store, delivery)
    assert deliver_in_time(store, delivery, deadline=time.time() - 1).is_equal


def test_a_signal_ends_it_between_two_blocks(store: Path, delivery: Delivery, before_writing: Before) -> None:
    """As a deadline does."""
    before_writing(stopping.ask)
    try:
        done = deliver_in_time(store, delivery)
    finally:
        stopping.forget()
    assert (done.sent, done.behind) == (BLOCK, ROWS - BLOCK)


def test_a_target_that_hangs_is_left(
    store: Path, delivery: Delivery, before_writing: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told and on record. When the target wakes up, nothing more is sent to it, and the next delivery makes it
    equal."""
    monkeypatch.setattr(calls, "SILENT_SECONDS", 0.5)
    awake, woken = threading.Event(), threading.Event()

    def hang() -> None:
        if not woken.is_set():
            awake.wait(60)
            woken.set()

    before_writing(hang)
    with pytest.raises(DeliveryLeft, match=r"search to parquet:.*There was none for \d s") as left:
        deliver_in_time(store, delivery)
    kept = last(store, "search")
    assert kept == left.value.delivered
    assert kept is not None
    assert (kept.behind, kept.rows) == (None, 0)
    monkeypatch.setattr(calls, "SILENT_SECONDS", 60.0)
    awake.set()
    done = deliver_in_time(store, delivery)
    assert done.is_equal
    assert done.sent == ROWS, "nothing was written after it woke up"


def test_a_target_that_says_that_it_goes_on_is_waited_for(
    store: Path, delivery: Delivery, before_writing: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may build an index for hours; not so after the deadline, when it is left, and writes no more."""
    monkeypatch.setattr(calls, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(in_time, "LATEST", 0.6)
    monkeypatch.setattr(calls, "OVERTIME_SECONDS", 60.0)

    def work(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            calls.go_on()

    before_writing(lambda: work(0.4))
    assert deliver_in_time(store, delivery).is_equal
    again = delivery.model_copy(update={"name": "another"})
    before_writing(lambda: work(30.0))
    began = time.monotonic()
    with pytest.raises(DeliveryLeft):
        deliver_in_time(store, again, deadline=time.time() + 0.5)
    assert time.monotonic() - began < 10
    before_writing(lambda: None)
    assert deliver_in_time(store, again).is_equal


def test_who_waits_for_another_process_ends_in_time(store: Path, delivery: Delivery) -> None:
    """The turn is another's; nothing is told in its place."""
    before = last(store, "search")
    with turn(store, "search"):
        waited = deliver_in_time(store, delivery, deadline=time.time() + 0.5)
    assert (waited.sent, waited.behind, waited.problem) == (0, None, "")
    assert last(store, "search") == before


@pytest.mark.parametrize("kind", ["qdrant", "milvus", pytest.param("chroma", marks=pytest.mark.slow)])
def test_each_answer_of_a_server_says_that_it_goes_on(
    kind: str, request: pytest.FixtureRequest, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes a server many requests does not count as hanging: a block that goes in pieces, rows that are listed
    by pages, a generation that takes the place of another."""
    for place in _FEW[kind]:
        monkeypatch.setattr(place, 1)
    server: Chroma | Milvus | Qdrant = request.getfixturevalue(kind)
    delivery = Delivery(name=f"{kind}_goes_on", to=server.url, models=("a",))
    steps: dict[str, list[int]] = {}

    @contextmanager
    def counted(name: str) -> Iterator[None]:
        before = calls.progress()
        yield
        steps.setdefault(name, []).append(calls.progress() - before)

    with watched(counted):
        assert deliver(store, delivery).is_equal
        assert deliver(store, delivery, full=True).is_equal
        assert not check(store, delivery).differences
    assert min(steps["write"][:2]) >= BLOCK
    assert max(steps["held"]) >= BLOCK
    assert all(min(steps[name]) >= 1 for name in ("generations", "begin", "count", "held", "serve", "fetch"))
    assert min(steps["serve"]) >= 2


_FEW = {
    "qdrant": ("pixelmill.deliver.qdrant.target._REQUEST", "pixelmill.deliver.qdrant.target._PAGE"),
    "milvus": ("pixelmill.deliver.milvus.target._ROWS", "pixelmill.deliver.milvus.target._QUERY_ROWS"),
    "chroma": ("pixelmill.deliver.chroma.server.MOST", "pixelmill.deliver.chroma.target.MOST"),
}
"""How many rows, or bytes, go at a time."""

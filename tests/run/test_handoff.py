"""What passes between a run and its workers, at the place where they hand over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.run import handoff
from pixelmill.run.handoff import RunPlace, Sign, place_at, place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.orders import RunOrders, Unsettled
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.travel import messages
from pixelmill.travel.messages import Message, MessageRefused, encode
from pixelmill.watch import calls
from tests.support.models import spec_of


@pytest.fixture
def orders(tmp_path: Path) -> RunOrders:
    """Orders of run 7 of a store, in which `gpu0` is to settle a model."""
    (tmp_path / "weights").write_bytes(b"weights")
    job = Job(
        sources=("/photos",), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), handover=str(tmp_path / "handover"),
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip
    samples = (FoundFile("/photos", "1.jpg", 10, 20, 30),)
    return RunOrders(job, "store-1", 7, settling={"gpu0": (Unsettled("one", (), samples),)})


@pytest.fixture
def place(orders: RunOrders) -> RunPlace:
    """As the run sees it."""
    found, _ = place_of(orders.job, orders.store_id, orders.scan)
    return found


def given(orders: RunOrders, place: RunPlace, tmp_path: Path) -> Path:
    """The folder of the run with its orders."""
    with StoreWriter(orders.job.store) as writer:
        place.give(orders, Intake(writer, orders))
    return tmp_path / "handover" / "store-1" / "7"


def test_orders_are_found_by_the_name_of_the_place(orders: RunOrders, place: RunPlace, tmp_path: Path) -> None:
    """The name that a worker gets leads it to what the run has left; when the run is over it is told so."""
    folder = given(orders, place, tmp_path)
    whole = place_of(orders.job, orders.store_id, orders.scan)[1]
    assert whole == os.fspath(folder)
    found = place_at(whole)
    assert found.orders().settling == orders.settling
    assert found.prefixes() is None
    assert found.shard(0) is None
    place.clear()
    with pytest.raises(StoreError, match=r"Expected the orders of a run.*the run is over.*`vectorize` starts `embed`"):
        found.orders()
    assert not folder.parent.exists()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "changed": lambda whole: whole[:200] + b"!" + whole[201:],
    "no message": lambda whole: b'{"shards": []}',
    "of another kind": lambda whole: encode(Message("rows", "store-1", 7, {})),
    "of another shape": lambda whole: encode(Message("orders", "store-1", 7, {"shards": 7})),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_orders_are_told_in_words(damage: str, orders: RunOrders, place: RunPlace, tmp_path: Path) -> None:
    """Orders that cannot be understood are refused by name, whatever they are."""
    file = given(orders, place, tmp_path) / "orders"
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.raises(MessageRefused, match="Expected"):
        place.orders()


def test_orders_of_another_version_are_told_in_words(
    orders: RunOrders, place: RunPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose installation is older or newer says what to do."""
    monkeypatch.setattr(messages, "VERSION", "0.0.1")
    given(orders, place, tmp_path)
    monkeypatch.undo()
    with pytest.raises(MessageRefused, match=r"Version '0.0.1' wrote it. Install the same version on every machine"):
        place.orders()


def test_orders_that_cannot_be_given_are_told_in_words(orders: RunOrders, place: RunPlace, tmp_path: Path) -> None:
    """Where nothing can be handed over, the run ends with what to do, before anything is embedded; so does a worker."""
    (tmp_path / "handover").write_bytes(b"a file in its place")
    with pytest.raises(StoreError, match=r"Expected to list .* at .*handover"):
        given(orders, place, tmp_path)
    with pytest.raises(StoreError, match=r"Expected to hand over .*handover"), place.alive("gpu0"):
        pass


def test_a_sign_of_life_counts_by_its_change(place: RunPlace, tmp_path: Path) -> None:
    """The clocks of two machines may be hours apart: that a sign changes says that a worker lives, not when it was made."""
    assert place.sign_of("gpu0") is None
    with place.alive("gpu0"):
        first = place.sign_of("gpu0")
    file = tmp_path / "handover" / "store-1" / "7" / "gpu0.alive"
    os.utime(file, (4_000_000_000, 4_000_000_000))
    assert place.sign_of("gpu0") == first
    file.write_text(json.dumps({"beat": 2, "progress": "0", "doing": ""}))
    assert place.sign_of("gpu0") == Sign(2, "0", "") != first
    for spoiled in (
        b"",
        b'{"beat',
        b"[]",
        b"\xff",
        b'{"beats": 3}',
        b'{"beat": 1, "progress": "", "doing": "", "done": 5}',
    ):
        file.write_bytes(spoiled)
        assert place.sign_of("gpu0") is None


def test_a_sign_of_life_says_how_many_images_are_done(place: RunPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """So far, by model: the run shows the sum of its workers, whichever way it asks the place."""
    monkeypatch.setattr(handoff, "ALIVE_SECONDS", 0.05)
    done = {"one": 3}
    with place.alive("gpu0", done), place.alive("gpu1", {"one": 5}):
        assert (place.sign_of("gpu0"), place.patient().sign_of("gpu1")) != (None, None)
        assert place.embedded == {"gpu0": {"one": 3}, "gpu1": {"one": 5}}
        done["one"] = 4
        changes(place, 3)
    assert place.embedded["gpu0"] == {"one": 4}


def test_a_sign_of_life_says_how_far_the_work_has_gone(place: RunPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs goes on to say that it lives, and not that it goes forward; what it does can be read."""
    monkeypatch.setattr(handoff, "ALIVE_SECONDS", 0.05)
    with place.alive("gpu0"):
        calls.begin("embed", "one with 32 images")
        signs = changes(place, 3)
        assert len({sign.beat for sign in signs}) == 3
        assert len({sign.progress for sign in signs[1:]}) == 1
        assert signs[-1].doing == "embed one with 32 images"
        calls.go_on()
        assert changes(place, 3)[-1].progress != signs[-1].progress


def changes(place: RunPlace, number: int) -> list[Sign]:
    """So many signs of life, each another."""
    signs: list[Sign] = []
    end = time.monotonic() + 20
    while len(signs) < number and time.monotonic() < end:
        sign = place.sign_of("gpu0")
        if sign and sign not in signs:
            signs.append(sign)
        time.sleep(0.01)
    return signs


@pytest.mark.parametrize("by", ["stop", "clear"])
def test_a_worker_comes_to_an_end_when_the_run_does(
    by: str, orders: RunOrders, place: RunPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline it is told to stop; when the run has cleared the place it notices, and leaves nothing there."""
    monkeypatch.setattr(handoff, "ALIVE_SECONDS", 0.05)
    folder = given(orders, place, tmp_path)
    with place.alive("gpu0") as stopped:
        assert not stopped()
        getattr(place, by)()
        end = time.monotonic() + 20
        while not stopped() and time.monotonic() < end:
            time.sleep(0.01)
        assert stopped()
    assert folder.exists() is (by == "stop")


def test_orders_of_the_next_round_take_signs_away(orders: RunOrders, place: RunPlace, tmp_path: Path) -> None:
    """Who lived in the round before, or was told to stop, has not shown a sign of life in this one."""
    folder = given(orders, place, tmp_path)
    with place.alive("gpu0"):
        place.stop()
    assert place.sign_of("gpu0")
    given(orders, place, tmp_path)
    assert [file.name for file in folder.iterdir()] == ["orders"]


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_a_deadline_does_not_depend_on_the_clocks_of_two_machines(
    orders: RunOrders, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose clock is an hour off has as long as the others."""
    job = orders.job.model_copy(update={"deadline": time.time() + 1000})
    data = RunOrders(job, "store-1", 7).message()
    now = time.time
    monkeypatch.setattr("pixelmill.run.orders.time.time", lambda: now() + skew)
    deadline = RunOrders.of_message(data).job.deadline
    assert deadline is not None
    assert abs(deadline - time.time() - 1000) < 5

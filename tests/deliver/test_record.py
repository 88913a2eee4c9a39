"""What a store keeps of its deliveries disturbs nothing that looks after it, and goes with no copy of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pixelmill.deliver import base
from pixelmill.deliver.deliver import check, deliver, preview_delivery
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.record import FOLDER, last, on_record
from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.store.backup import backup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.verify import repair, verify
from tests.support.delivered import BLOCK, add_rows, rows_in, small_store, store_of_blocks

ROWS = 50


@pytest.fixture
def delivery() -> Delivery:
    return Delivery(name="search", to=f"parquet:{Path('out').absolute()}", models=("a",), columns=("label",))


@pytest.fixture
def store(delivery: Delivery) -> Path:
    """A store that has delivered, in two parts."""
    folder = small_store(ROWS)
    add_rows(folder, ROWS, ROWS + 2)
    deliver(folder, delivery)
    return folder


def kept(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / FOLDER).iterdir()}


def test_what_looks_after_a_store_leaves_it_alone(store: Path, delivery: Delivery) -> None:
    """`verify` has nothing to say of it, `compact` and `repair` keep it, and there is nothing to deliver after them."""
    before = kept(store)
    assert set(before) == {"search.lock", "search.json"}
    assert verify(store) == []
    with StoreWriter(store) as writer:
        compact(writer, keep_generations=0)
    assert repair(store).actions == ()
    assert verify(store) == []
    assert kept(store) == before
    assert deliver(store, delivery).sent == 0


def test_a_backup_has_none_and_goes_on_with_the_target(store: Path, delivery: Delivery, tmp_path: Path) -> None:
    """Neither a lock nor what was on record here. What is known of the target is in the target: restored elsewhere, it
    has nothing to send, and what an older one lacks is deleted there."""
    backup(store, tmp_path / "backup")
    assert not (tmp_path / "backup" / FOLDER).exists()
    add_rows(store, ROWS + 2, ROWS + 5)
    deliver(store, delivery)
    shutil.rmtree(store)
    backup(tmp_path / "backup", tmp_path / "restored")
    restored = tmp_path / "restored"
    assert on_record(restored) == []
    back = deliver(restored, delivery)
    assert (back.sent, back.deleted, back.rows) == (0, 3, ROWS + 2)
    assert check(restored, delivery, full=True).differences == ()
    assert len(rows_in("out", "search")) == ROWS + 2


def test_an_earlier_backup_from_which_somebody_delivered_is_brought_up_to_date(
    store: Path, delivery: Delivery, tmp_path: Path
) -> None:
    """What it has on record stays its own."""
    backup(store, tmp_path / "backup")
    assert deliver(tmp_path / "backup", delivery).is_equal
    add_rows(store, ROWS + 2, ROWS + 5)
    assert backup(store, tmp_path / "backup").rows == ROWS + 5
    assert last(tmp_path / "backup", "search") is not None
    assert verify(tmp_path / "backup") == []


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"name": 3}'])
def test_a_record_that_is_damaged_is_none(content: bytes, store: Path, delivery: Delivery) -> None:
    """It costs nothing: the next delivery writes it anew."""
    whole = last(store, "search")
    assert whole
    (store / FOLDER / "search.json").write_bytes(content)
    assert last(store, "search") is None
    assert on_record(store) == []
    deliver(store, delivery)
    again = last(store, "search")
    assert again
    assert (again.rows, again.equal_at >= whole.equal_at) == (whole.rows, True)


def test_what_stands_in_the_way_is_told(store: Path, delivery: Delivery) -> None:
    """A file in the place of the folder, or a link in that of the lock: nothing is delivered past whose turn it is."""
    (store / FOLDER / "search.lock").unlink()
    (store / FOLDER / "search.lock").symlink_to("/dev/null")
    with pytest.raises(DeliveryRefused, match=r"store"):
        deliver(store, delivery)
    shutil.rmtree(store / FOLDER)
    (store / FOLDER).write_text("mine")
    with pytest.raises(DeliveryRefused, match=r"store"):
        deliver(store, delivery)
    assert (store / FOLDER).read_text() == "mine"


def test_while_a_generation_is_made_the_one_that_is_seen_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its rows and of which revision it is, not those of what readers do not see yet."""
    monkeypatch.setattr(base, "BLOCK", BLOCK)
    store, delivery = store_of_blocks(tmp_path / "blocks"), Delivery(name="blocks", to="parquet:out", models=("a",))
    seen = deliver(store, delivery)
    looked = iter([False, True])
    cut_short = deliver(store, delivery, full=True, is_over=lambda: next(looked))
    assert cut_short.behind
    for told in (cut_short, *on_record(store), preview_delivery(store, delivery, full=True)):
        assert (told.rows, told.revision, told.equal_at) == (seen.rows, seen.revision, seen.equal_at)


def test_what_another_target_had_is_not_told_of_this_one(store: Path, delivery: Delivery) -> None:
    """A delivery that goes elsewhere from now on was never equal there."""
    elsewhere = delivery.model_copy(update={"to": "qdrant://127.0.0.1:1"})
    with pytest.raises(TargetUnavailable) as failed:
        deliver(store, elsewhere)
    for told in (failed.value.delivered, *on_record(store)):
        assert isinstance(told, Delivered)
        assert (told.to, told.rows, told.revision, told.equal_at) == (elsewhere.to, 0, 0, "")


def test_names_that_are_no_utf_8_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the store's folder in the words of an error, and of that to which it goes."""
    odd = tmp_path / os.fsdecode(b"odd \xff")
    odd.mkdir()
    monkeypatch.chdir(odd)
    store = small_store(5).absolute()
    delivery = Delivery(name="search", to=f"parquet:{odd}/out", models=("a",))
    assert deliver(store, delivery).is_equal
    with pytest.raises(DeliveryRefused, match="nothing"):
        deliver(store, delivery.model_copy(update={"columns": ("nothing",)}))
    (store / FOLDER / "search.lock").unlink()
    (store / FOLDER / "search.lock").symlink_to("/dev/null")
    with pytest.raises(DeliveryRefused, match="odd"):
        deliver(store, delivery)
    (kept,) = on_record(store)
    assert kept.to.endswith(r"odd \udcff/out")
    assert r"odd \udcff/store" in kept.problem

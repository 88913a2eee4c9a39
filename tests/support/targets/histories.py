"""Whatever happens to a store, the next delivery makes its target equal, by sending no more than what has changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelmill.deliver import base
from pixelmill.deliver.deliver import deliver, preview_delivery
from pixelmill.deliver.delivery import Delivery
from pixelmill.store.reader import MatrixView
from tests.support.deliveries import changed, expected
from tests.support.delivery_engine import Engine
from tests.support.photos import Photos
from tests.support.targets.asking import BLOCK, Asking, calls, delivered, delivery_to, require_sound

STEPS = 8


class Histories(Asking):
    """Deliveries between changes of the store."""

    def test_any_history_of_the_store_is_followed(self, engine: Engine, folder: Path, seed: int) -> None:
        """After each step the target is equal, and no row was sent that had not changed, unless all were made anew."""
        photos, choice = Photos(folder, seed=seed), random.Random(seed)
        delivery = delivery_to(engine, models=choice.choice([("a",), ("b", "a"), ("both",)]), normalize=bool(seed % 3))
        before = expected(folder, delivery)
        assert delivered(engine, photos, delivery).sent == len(before)
        for _ in range(STEPS):
            step = choice.choice(_STEPS)
            delivery = step(photos, choice, delivery)
            after = expected(folder, delivery)
            foreseen = preview_delivery(folder, delivery)
            told = delivered(engine, photos, delivery)
            assert (told.sent, told.deleted, told.is_anew) == (foreseen.sent, foreseen.deleted, foreseen.is_anew)
            if not told.is_anew:
                assert (told.sent, told.deleted) == changed(before, after), step.__name__
            before = after
        require_sound(photos, delivery)

    def test_a_night_without_news_sends_nothing_and_reads_no_vector(
        self, engine: Engine, photos: Photos, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither of the store nor of the target."""
        delivered(engine, photos, delivery_to(engine))
        read: list[object] = []
        monkeypatch.setattr(MatrixView, "read", lambda *arguments: read.append(arguments))
        with calls() as made:
            told = deliver(photos.folder, delivery_to(engine))
        assert told.is_equal
        assert (told.sent, told.deleted, read) == (0, 0, [])
        assert {"write", "begin", "serve", "drop"}.isdisjoint(made)
        assert made.count("held") <= 1, "only what is behind the last block is asked for"

    def test_a_compaction_sends_nothing(self, engine: Engine, photos: Photos) -> None:
        """Where values lie is not what they are, and a check finds nothing in between."""
        photos.add()
        delivered(engine, photos, delivery_to(engine))
        photos.compact()
        require_sound(photos, delivery_to(engine))
        with calls() as made:
            told = delivered(engine, photos, delivery_to(engine))
        assert (told.sent, told.deleted, made.count("write")) == (0, 0, 0)

    def test_blocks_of_another_size_make_a_new_generation(
        self, engine: Engine, photos: Photos, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As another version of the program may have them."""
        delivered(engine, photos, delivery_to(engine))
        monkeypatch.setattr(base, "BLOCK", BLOCK + 4)
        assert delivered(engine, photos, delivery_to(engine)).is_anew
        photos.add(12)
        assert not delivered(engine, photos, delivery_to(engine)).is_anew

    def test_an_empty_store_is_mirrored_and_filled(self, engine: Engine, photos: Photos) -> None:
        """Before the first photo of it is left, and after the last, readers see no rows, and then those that come."""
        photos.remove(100)
        for _ in range(2):
            delivered(engine, photos, delivery_to(engine))
            assert engine.rows("vectors") == {}
            photos.add(12)
            delivered(engine, photos, delivery_to(engine))
            photos.remove(100)

    def test_a_dry_run_counts_and_writes_nothing(self, engine: Engine, photos: Photos) -> None:
        """Before the first delivery, before one of changes and one made anew: what is done is what was said."""
        for change, full in ((photos.add, False), (photos.remove, False), (photos.change, True)):
            change()
            before = engine.rows("vectors")
            with calls() as made:
                foreseen = preview_delivery(photos.folder, delivery_to(engine), full=full)
            assert {"begin", "write", "keep", "serve", "drop"}.isdisjoint(made)
            assert engine.rows("vectors") == before
            told = delivered(engine, photos, delivery_to(engine), full=full)
            assert (foreseen.sent, foreseen.deleted) == (told.sent, told.deleted)
            assert foreseen.behind == told.sent + told.deleted > 0


Step = Callable[[Photos, random.Random, Delivery], Delivery]


def _of_photos(*names: str) -> list[Step]:
    return [_calling(name) for name in names]


def _calling(name: str) -> Step:
    def step(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
        getattr(photos, name)()
        return delivery

    step.__name__ = name
    return step


def _add_many(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
    photos.add(choice.randrange(10, 20))
    return delivery


def _remove_blocks(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
    photos.remove(choice.randrange(10, 30), beside=True)
    return delivery


def _new_generation(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
    photos.remake(choice.choice("ab"))
    return delivery


def _some_labels(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
    photos.relabel(choice.choice([0.1, 0.5, 1.0]))
    return delivery


def _another_kind(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
    photos.relabel(0.5, kind=choice.choice([int, float, str]))
    return delivery.model_copy(update={"columns": ("rating", "label", "taken.at")})


def _other_models(photos: Photos, choice: random.Random, delivery: Delivery) -> Delivery:
    return delivery.model_copy(update={"models": choice.choice([("a",), ("b",), ("a", "b"), ("both",)])})


_STEPS: list[Step] = [
    *_of_photos("add", "change", "change", "move", "remove", "bring_back", "finish", "mix", "compact", "back_up", "put_back"),
    _add_many, _remove_blocks, _new_generation, _some_labels, _another_kind, _other_models,
]  # fmt: skip

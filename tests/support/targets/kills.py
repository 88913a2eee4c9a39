"""A delivery that is killed at any call to its target goes on, and readers never see two generations mixed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.targets import open_target
from tests.support.deliveries import Rows, are_rows_of, differences, expected
from tests.support.delivery_child import Deliverer
from tests.support.delivery_engine import Engine
from tests.support.photos import Photos
from tests.support.targets.asking import (
    BLOCK,
    STRIDE,
    Asking,
    delivered,
    delivery_to,
    require_rows,
    require_sound,
    watched,
)


class Kills(Asking):
    """Deliveries that end before their time, that meet, or that somebody watches."""

    def test_a_first_delivery_killed_at_any_call(
        self, engine: Engine, photos: Photos, deliverer: Deliverer, turn: int
    ) -> None:
        """Readers see nothing or all, and one more delivery makes it equal."""
        wanted = expected(photos.folder, delivery_to(engine))
        for number, at in enumerate(self._kills(turn)):
            delivery = delivery_to(engine, name=f"killed_{number}")
            ended = deliverer.deliver(photos.folder, delivery, fatal=("", at))
            found = engine.rows(delivery.name)
            assert found is None or not differences(found, wanted), f"killed at {at}"
            delivered(engine, photos, delivery)
            if not ended.killed:
                return

    def test_changes_killed_at_any_call(self, engine: Engine, photos: Photos, deliverer: Deliverer, turn: int) -> None:
        """Readers see each row as it was or as it is, and one more delivery makes it equal."""
        before = photos.twin()
        photos.remove(3)
        photos.change(6)
        photos.relabel(0.3)
        photos.add(9)
        self._kill_each(engine, before, photos, deliverer, self._kills(turn), are_rows_of)

    def test_a_new_generation_killed_at_any_call(
        self, engine: Engine, photos: Photos, deliverer: Deliverer, turn: int
    ) -> None:
        """Readers see exactly the old one or exactly the new one, and one more delivery makes it equal."""
        before = photos.twin()
        photos.remake("a")
        photos.finish()
        photos.add(3)
        self._kill_each(engine, before, photos, deliverer, self._kills(turn), _are_one_of)

    def _kills(self, turn: int) -> Iterator[float]:
        """Before a call, or (with a half) inside it: every STRIDEth; with a second engine a third of them."""
        return itertools.count(turn / 2, STRIDE * (3 if self.is_second else 1) / 2)

    @staticmethod
    def _kill_each(
        engine: Engine,
        before: Photos,
        after: Photos,
        deliverer: Deliverer,
        kills: Iterator[float],
        is_fine: Callable[..., bool],
    ) -> None:
        delivery = delivery_to(engine)
        states = [expected(photos.folder, delivery) for photos in (before, after)]
        for at in kills:
            delivered(engine, before, delivery)
            ended = deliverer.deliver(after.folder, delivery, fatal=("", at))
            assert not ended.error
            found = engine.rows(delivery.name)
            in_between = found is None and not engine.switches_at_once
            assert in_between or is_fine(found, *states), f"killed at {at}"
            delivered(engine, after, delivery)
            if not ended.killed:
                require_sound(after, delivery)
                return

    def test_it_goes_on_where_it_stopped(self, engine: Engine, photos: Photos, deliverer: Deliverer) -> None:
        """What was sent before a kill is not sent again, in a first delivery and in one made anew."""
        delivery = delivery_to(engine)
        for _ in range(2):
            assert deliverer.deliver(photos.folder, delivery, fatal=("write", 2)).killed
            told = delivered(engine, photos, delivery)
            assert told.is_anew
            assert told.sent == sum(row >= 2 * BLOCK for row in expected(photos.folder, delivery))
            photos.remake("a")
            photos.finish()

    def test_a_new_generation_takes_the_place_at_once(self, engine: Engine, photos: Photos) -> None:
        """Who reads while it is delivered sees all of the old one or all of the new one, and in the end the new one."""
        delivery = delivery_to(engine)
        delivered(engine, photos, delivery)
        old = expected(photos.folder, delivery)
        photos.remake("a")
        photos.finish()
        new = expected(photos.folder, delivery)
        with _seeing(engine, delivery) as seen, watched(lambda name: _slowly()):
            deliver(photos.folder, delivery)
        assert any(not differences(found, old) for found in seen)
        for found in seen:
            assert (found is None and not engine.switches_at_once) or _are_one_of(found, old, new)
        require_rows(engine, delivery, new)
        assert engine.leftovers(delivery.name) == []

    def test_a_generation_that_was_begun_and_is_no_more_wanted_goes(
        self, engine: Engine, photos: Photos, deliverer: Deliverer
    ) -> None:
        """It was killed, and then the models were others: nothing of it is left."""
        assert deliverer.deliver(photos.folder, delivery_to(engine), fatal=("write", 1)).killed
        assert deliverer.deliver(photos.folder, delivery_to(engine, models=("b",)), fatal=("serve", 0)).killed
        delivered(engine, photos, delivery_to(engine, models=("b", "a")))

    def test_what_is_gone_can_be_thrown_away(self, engine: Engine, photos: Photos) -> None:
        """A generation that somebody has dropped meanwhile is dropped; what is served stays."""
        delivered(engine, photos, delivery_to(engine))
        with open_target(delivery_to(engine)) as target:
            target.drop("0123abcd")
        require_rows(engine, delivery_to(engine), expected(photos.folder, delivery_to(engine)))

    def test_two_at_once_take_turns(self, engine: Engine, photos: Photos, deliverer: Deliverer) -> None:
        """Two processes deliver the same store: both end well, and what there was to send was sent once."""
        with Deliverer(self.modules) as other:
            both = (deliverer, other)
            for one in both:
                one.begin(photos.folder, delivery_to(engine), pause=0.01)
            ended = [one.end() for one in both]
        wanted = expected(photos.folder, delivery_to(engine))
        assert [one.error for one in ended] == ["", ""]
        assert sorted(one.sent for one in ended) == [0, len(wanted)]
        require_rows(engine, delivery_to(engine), wanted)
        assert engine.leftovers("vectors") == []

    @pytest.mark.parametrize("is_first", [True, False], ids=["first", "changes"])
    def test_two_machines_at_once_end_equal(
        self, engine: Engine, photos: Photos, deliverer: Deliverer, is_first: bool
    ) -> None:
        """Two copies of a store, which know nothing of each other, deliver the same: if one of them fails it says why,
        the next delivery makes it equal, and nothing is left of either."""
        delivery = delivery_to(engine)
        if not is_first:
            delivered(engine, photos, delivery)
            photos.change(6)
            photos.add(9)
        twin = photos.twin()
        with Deliverer(self.modules) as other:
            deliverer.begin(photos.folder, delivery, pause=0.01)
            other.begin(twin.folder, delivery, pause=0.012)
            errors = [one.end().error for one in (deliverer, other)]
        assert all(error.startswith("TargetUnavailable: ") for error in errors if error), errors
        if not any(errors):
            require_rows(engine, delivery, expected(photos.folder, delivery))
        delivered(engine, photos, delivery)
        require_sound(photos, delivery)


def _are_one_of(found: Rows | None, *states: Rows) -> bool:
    return any(not differences(found, state) for state in states)


@contextmanager
def _slowly() -> Iterator[None]:
    time.sleep(0.03)
    yield


@contextmanager
def _seeing(engine: Engine, delivery: Delivery) -> Iterator[list[Rows | None]]:
    """What a reader sees, who looks again and again while the block runs."""
    seen: list[Rows | None] = []
    over, problems = Event(), list[BaseException]()

    def look() -> None:
        try:
            while not over.is_set():
                seen.append(engine.rows(delivery.name))
        except BaseException as error:
            problems.append(error)

    reader = Thread(target=look)
    reader.start()
    try:
        yield seen
    finally:
        over.set()
        reader.join()
    assert not problems, problems

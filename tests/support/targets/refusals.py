"""What strangers have is left alone, what is spoilt is found and mended, and what fails is told and loses nothing."""

from __future__ import annotations

import logging
import time
import traceback
from pathlib import Path

import pytest

from pixelmill.deliver import base
from pixelmill.deliver.deliver import check, deliver, preview_delivery
from pixelmill.errors import DeliveryError, DeliveryRefused, TargetUnavailable
from pixelmill.store.reader import Store
from tests.support.deliveries import are_rows_of, expected
from tests.support.delivery_engine import EXTRA, Engine, Failure
from tests.support.photos import Photos
from tests.support.targets.asking import Asking, delivered, delivery_to, require_rows, require_sound

SECONDS = 2.0
"""How long a target waits for its engine here."""
ENDS_IN = 30.0
"""Seconds within which a delivery to an engine that fails must end."""
BY_ITS_COUNT = ("missing", "extra", "again")
"""What any delivery notices, since the number of rows is another."""


class Refusals(Asking):
    """Engines that have something else, or that fail."""

    def test_a_check_names_what_is_spoilt_and_a_delivery_mends_it(self, engine: Engine, photos: Photos) -> None:
        """On a true mirror it finds nothing. What changes the number of rows any delivery mends, all else one made
        anew."""
        delivery = delivery_to(engine)
        assert check(photos.folder, delivery).differences == ("Nothing was delivered yet.",)
        delivered(engine, photos, delivery)
        row = sorted(expected(photos.folder, delivery))[5]
        for what in engine.spoils:
            require_sound(photos, delivery)
            engine.spoil("vectors", what, row)
            for found in (check(photos.folder, delivery), check(photos.folder, delivery, full=True)):
                assert any(str(EXTRA if what == "extra" else row) in said for said in found.differences), (what, found)
            told = delivered(engine, photos, delivery, full=what not in BY_ITS_COUNT)
            assert told.sent + told.deleted > 0
        require_sound(photos, delivery)

    def test_a_check_says_what_is_behind(self, engine: Engine, photos: Photos) -> None:
        """Rows that came since and rows that are gone are told, and so is a generation made otherwise."""
        delivery = delivery_to(engine)
        delivered(engine, photos, delivery)
        photos.add(3)
        photos.remove(1)
        told = " ".join(check(photos.folder, delivery).differences)
        assert "not delivered yet" in told
        assert "missing" in told
        assert "too many" in told
        photos.remake("a")
        photos.finish()
        assert "new generation is to be delivered" in " ".join(check(photos.folder, delivery).differences)

    @pytest.mark.parametrize("dim", [3, 7])
    def test_what_strangers_have_is_refused_and_stays(self, engine: Engine, photos: Photos, dim: int) -> None:
        """A table of that name that no delivery made is never touched, whatever its vectors look like."""
        delivery = delivery_to(engine)
        engine.foreign_table("vectors", dim)
        for act in (deliver, preview_delivery, check):
            with pytest.raises(DeliveryRefused, match="vectors"):
                act(photos.folder, delivery)
        with pytest.raises(DeliveryRefused, match="vectors"):
            deliver(photos.folder, delivery, full=True)
        assert engine.foreign_table_is_whole("vectors")

    def test_what_another_store_delivered_is_refused_and_stays(
        self, engine: Engine, photos: Photos, memory: Path
    ) -> None:
        """Two stores cannot have one name in one target."""
        delivery = delivery_to(engine)
        delivered(engine, photos, delivery)
        other = Photos(memory / "other", number=5)
        for act in (deliver, preview_delivery):
            with pytest.raises(DeliveryRefused, match=Store(photos.folder).manifest.store_id):
                act(other.folder, delivery)
        assert "of another store" in " ".join(check(other.folder, delivery).differences)
        require_rows(engine, delivery, expected(photos.folder, delivery))
        require_sound(photos, delivery)

    def test_a_name_that_begins_like_another_is_another(self, engine: Engine, photos: Photos) -> None:
        """Deliveries side by side do not see each other, even where one is begun while the other makes a generation."""
        names = ("vectors", "vectors_a", "vec", "vectors__b")
        for name in names:
            delivered(engine, photos, delivery_to(engine, name=name))
        photos.remake("a")
        photos.finish()
        for name in names:
            delivered(engine, photos, delivery_to(engine, name=name))
        for name in names:
            require_sound(photos, delivery_to(engine, name=name))

    def test_whatever_fails_is_told_and_nothing_is_lost(
        self, engine: Engine, photos: Photos, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each failure ends in time, by the right error, in words without a password, and the next delivery makes it
        equal; who reads afterwards sees rows as they were or as they are."""
        monkeypatch.setattr(base, "SECONDS", SECONDS)
        delivery = delivery_to(engine, columns=("label", "caption"))
        caplog.set_level(logging.DEBUG)
        photos.add(80)
        _captions(photos, "short")
        for how in engine.failures:
            delivered(engine, photos, delivery)
            before = expected(photos.folder, delivery)
            photos.add(10)
            photos.remove(3)
            photos.change(5)
            _captions(photos, how)
            began = time.monotonic()
            with engine.failing(how), pytest.raises(DeliveryError) as failed:
                deliver(photos.folder, delivery)
            assert time.monotonic() - began < ENDS_IN, how
            _require_told(failed.value, how, engine, caplog.text)
            assert are_rows_of(engine.rows("vectors"), before, expected(photos.folder, delivery)), how
        delivered(engine, photos, delivery)
        require_sound(photos, delivery)


def _captions(photos: Photos, how: Failure | str) -> None:
    """Texts in all rows, of some megabytes in all where the engine is to be full."""
    length = 60_000 if how == "full" else 10
    rows = range(len(Store(photos.folder)))
    photos.columns({"caption": [f"{row} {how} {photos.random.randbytes(length // 2).hex()}" for row in rows]})


def _require_told(error: DeliveryError, how: Failure, engine: Engine, log: str) -> None:
    kind = DeliveryRefused if how == "wrong password" else TargetUnavailable
    assert type(error) is kind, f"{how}: {type(error).__name__}: {error}"
    assert str(error).startswith("Expected "), f"{how}: {error}"
    shown = "".join(traceback.format_exception(error)) + log + str(error.delivered)
    for secret in engine.secrets:
        assert secret not in shown, how

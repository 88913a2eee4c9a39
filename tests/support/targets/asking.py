"""What all parts of the contract suite use: a store, blocks of few rows, a delivery and the comparison after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pixelmill.deliver import base
from pixelmill.deliver import deliver as delivering
from pixelmill.deliver.check import SAMPLE
from pixelmill.deliver.deliver import check, deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.told import Delivered
from tests.support.deliveries import Rows, differences, expected
from tests.support.delivery_child import Around, Deliverer, watch
from tests.support.delivery_engine import Engine
from tests.support.photos import Photos

HISTORIES = 50
STRIDE = 5
"""One turn of kills is at every so-manieth call."""
BLOCK = 8
"""Rows of a block: small stores have several."""
assert SAMPLE > 1000, "checks of small stores compare all rows"


class Asking:
    """Fixtures and helpers. A subclass of the suite gives a fixture `engine`, with room for one test."""

    modules: ClassVar[tuple[str, ...]] = ()
    """What a process may import before it is forked: clients of the engine that start no thread when imported."""
    is_second: ClassVar[bool] = False
    """Whether the target passes the whole suite with another engine already: few histories and kills do then."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Seeds of histories, and turns of kills, of which each takes every so-manieth: all but some are slow."""
        for name, number, by_default in (("seed", HISTORIES, 2), ("turn", STRIDE, 1)):
            if name in metafunc.fixturenames:
                tried = range(by_default if self.is_second else number)
                metafunc.parametrize(
                    name, [pytest.param(n, marks=[pytest.mark.slow] * (n >= by_default)) for n in tried]
                )

    @pytest.fixture(autouse=True)
    def _small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "BLOCK", BLOCK)

    @pytest.fixture
    def folder(self, memory: Path) -> Path:
        """Where the store lies."""
        return memory / "store"

    @pytest.fixture
    def photos(self, folder: Path) -> Photos:
        """A store of 20 photos."""
        return Photos(folder)

    @pytest.fixture(scope="class")
    def deliverer(self) -> Iterator[Deliverer]:
        """Delivers in processes of their own."""
        with Deliverer(self.modules) as deliverer:
            yield deliverer


def delivery_to(engine: Engine, *, name: str = "vectors", models: tuple[str, ...] = ("a",), **more: Any) -> Delivery:
    """A delivery to the engine, of label and time if nothing else is said."""
    return Delivery(name=name, to=engine.to, models=models, **({"columns": ("label", "taken.at")} | more))


def delivered(engine: Engine, photos: Photos, delivery: Delivery, **more: Any) -> Delivered:
    """Deliver, and compare whole."""
    told = deliver(photos.folder, delivery, **more)
    wanted = expected(photos.folder, delivery)
    require_rows(engine, delivery, wanted)
    assert engine.leftovers(delivery.name) == []
    assert told.is_equal
    assert (told.rows, told.behind) == (len(wanted), 0)
    return told


def require_rows(engine: Engine, delivery: Delivery, wanted: Rows) -> None:
    """What readers see is what is wanted, whole."""
    wrong = differences(engine.rows(delivery.name), wanted)
    assert not wrong, "\n".join(wrong[:10])


def require_sound(photos: Photos, delivery: Delivery) -> None:
    """A check of all rows finds nothing."""
    assert check(photos.folder, delivery, full=True).differences == ()


@contextmanager
def watched(around: Around) -> Iterator[None]:
    """Within the block, calls to targets are made in contexts by `around`."""
    opened = delivering.open_target
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivering, "open_target", lambda delivery: watch(opened(delivery), around))
        yield


@contextmanager
def calls() -> Iterator[list[str]]:
    """The names of the calls to targets that were made."""
    made: list[str] = []

    def noted(name: str) -> nullcontext[None]:
        made.append(name)
        return nullcontext()

    with watched(noted):
        yield made

"""What a run says in its log of what it found and what it will do."""

from __future__ import annotations

import logging
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from pixelmill.embedding.progress import tell, telling
from pixelmill.plan import Plan
from pixelmill.run.prepare import Prepared
from pixelmill.run.told import changed, embedding_told, found, planned
from pixelmill.store.rows import Changes
from pixelmill.watch import saying as module
from tests.support.prefect_server import wait_until


def matrix(model: str) -> Any:
    return SimpleNamespace(provenance=SimpleNamespace(model=model, fingerprint=f"of {model}"))


def test_what_was_found_is_told_in_a_line() -> None:
    assert found(5000, 12.3) == "5,000 images in the sources, found in 12 s."
    assert changed(Changes(new=1200, removed=1)) == "Since the last run: 1,200 new, 1 removed."
    assert changed(Changes()) == "Since the last run: no image changed."


def test_a_plan_is_told_by_model() -> None:
    """Models that lack nothing are left out; what is not settled yet is said."""
    plan = Plan({"of clip": 5000, "of resnet18": 1, "of whole": 0}, 5000, ())
    settled = tuple(map(matrix, ("clip", "resnet18", "whole")))
    assert planned(Prepared(settled, plan)) == "To embed: 5,000 images with clip, 1 image with resnet18."
    new: Any = SimpleNamespace(model="new")
    lacks = "To embed: what new lacks, which a worker finds out first."
    assert planned(Prepared((), Plan({}, 0, ()), (new,))) == lacks
    assert planned(Prepared((), Plan({}, 0, ()))) == "To embed: nothing."


def test_how_far_embedding_is_by_all_and_what_workers_are_at(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of images is heard by whoever listens around it, too: a bar, a run's log."""
    monkeypatch.setattr(module, "EVERY", 0.01)
    caplog.set_level(logging.INFO, "pixelmill")
    orders: Any = SimpleNamespace(shares=("one", "two"), images=lambda worker: {"clip": 10, worker: 5})
    elsewhere, heard = SimpleNamespace(at={"two": "read 5.png"}), Counter[str]()
    with telling(lambda model, images: heard.update({model: images})), embedding_told(orders, at=elsewhere):
        tell("clip", 15)
        said = wait_until(lambda: [m for m in caplog.messages if "15 of 20" in m], 10, "how far it is")
    assert said[0].startswith(
        "Embedding: 50%: 15 of 20 with clip; 0 of 5 with one; 0 of 5 with two; two is at: read 5.png"
    )
    assert heard == {"clip": 15}

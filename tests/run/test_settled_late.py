"""A model is settled once: what a worker that was given up hands in later makes no second matrix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.orders import RunOrders, Unsettled
from pixelmill.run.settle import Settled
from pixelmill.store.commit import StoreWriter
from tests.support.stores import provenance

ONE, TWO = Settled("a", provenance("a")), Settled("a", provenance("a", version=1))


def intake(writer: StoreWriter, settling: Mapping[str, tuple[Unsettled, ...]]) -> Intake:
    job = Job(
        sources=(), store=writer.folder, specs=(), cache=CacheSpec(cache_dir=writer.folder), fan_out="workers",
        workers=(Worker(name="one"), Worker(name="two")),
    )  # fmt: skip
    return Intake(writer, RunOrders(job, writer.snapshot().manifest.store_id, 1, settling=settling))


def made(writer: StoreWriter) -> list[str]:
    return [matrix.provenance.fingerprint for matrix in writer.snapshot().manifest.matrices]


def test_in_the_same_round_and_in_a_later_one(tmp_path: Path) -> None:
    """Who comes first settles the model, in the round that asks for it; later, or once more, nothing changes."""
    asked = {"two": (Unsettled("a"),)}
    with StoreWriter(tmp_path / "store") as writer:
        first = intake(writer, asked)
        for settled, worker in ((TWO, "two"), (ONE, "one"), (TWO, "two")):
            first.take_settled(settled, worker)
        assert first.settled == {"a": TWO}
        later = intake(writer, {})
        later.take_settled(ONE, "one")
        assert later.settled == {}
        assert made(writer) == [TWO.made.fingerprint]


def test_what_a_dead_run_had_asked_for_is_kept(tmp_path: Path) -> None:
    """Where the model has no matrix yet nothing is too late; where it is asked for anew, as its vectors come out
    otherwise now, there is one more."""
    with StoreWriter(tmp_path / "store") as writer:
        intake(writer, {}).take_settled(ONE, "one")
        assert made(writer) == [ONE.made.fingerprint]
        intake(writer, {"one": (Unsettled("a"),)}).take_settled(TWO, "one")
        assert made(writer) == [ONE.made.fingerprint, TWO.made.fingerprint]

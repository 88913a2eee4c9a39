"""What is handed in: nothing of it is lost, told wrongly, or stored though it is of another kind."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pixelmill.errors import HandoverUnreachable, ImageRejected, PixelmillError
from pixelmill.report.model import RunReport
from pixelmill.run import cluster, left, loaded, remote
from pixelmill.run.direct import run_here
from pixelmill.run.handoff import place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.left import take_in_left
from pixelmill.run.orders import RunOrders
from pixelmill.run.share import embed_and_store
from pixelmill.run.steps import discover_images, plan_work
from pixelmill.run.worker import AtWork, OtherVectors
from pixelmill.store.commit import StoreWriter
from pixelmill.store.master import publish
from pixelmill.store.reader import Store
from pixelmill.travel.handover import Handover
from pixelmill.watch.hangs import Hang, Unanswered
from tests.conftest import SavePicture
from tests.support.cluster_here import ClusterHere
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.shards import orders_for

IMAGES = 12


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Of twelve pictures, one of them a copy and one without an end marker."""
    monkeypatch.setattr(cluster, "_connected", ClusterHere)
    monkeypatch.setattr("pixelmill.run.worker._RETRY_DELAYS", ())
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES - 2):
        save_picture(tmp_path / "photos" / f"{seed}.png", seed)
    (tmp_path / "photos" / "0copy.png").write_bytes((tmp_path / "photos" / "0.png").read_bytes())
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", shard_size=4, batch_size=4,
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def done_by(job: Job, fan_out: str, name: str = "") -> RunReport:
    """The report of a run in a store of its own."""
    store = job.store.with_name(f"{fan_out}{name}")
    return run_here(job.model_copy(update={"fan_out": fan_out, "store": store}))


def assert_told_alike(inline: RunReport, dask: RunReport) -> None:
    """But for times, and for who did it."""
    for name in ("images", "failures", "failure_rate", "exceeded_failure_rate", "failure", "coverage"):
        assert getattr(inline, name) == getattr(dask, name)
    for model, did in inline.models.items():
        assert did.model_copy(update={"images_per_second": 0}) == dask.models[model].model_copy(
            update={"images_per_second": 0}
        )
    assert inline.warnings == tuple(w for w in dask.warnings if not w.startswith("Worker dask"))


def test_whoever_does_the_work_the_report_is_the_same(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the first images, by which others are measured: copies, refused and mended pictures among them; and of
    files that nobody can read, however often they were given out."""
    photos = Path(job.sources[0])
    Image.new("RGB", (64, 64), "red").save(photos / "0mended.jpg")
    (photos / "0mended.jpg").write_bytes((photos / "0mended.jpg").read_bytes()[:-2])
    (photos / "0broken.png").write_bytes((photos / "1.png").read_bytes()[:100])
    inline, dask = done_by(job, "inline"), done_by(job, "dask")
    assert any("taken all the same" in warning for warning in inline.warnings)
    assert inline.failure_rate > 0
    assert_told_alike(inline, dask)
    nobody_reads(monkeypatch, "locked")
    Image.new("RGB", (9, 9), "blue").save(photos / "locked.png")
    inline, dask = done_by(job, "inline"), done_by(job, "dask")
    assert inline.failure_rate == 1.0
    assert inline.models["one"].pending == 1
    assert_told_alike(inline, dask)


def nobody_reads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from pixelmill.embedding import reader

    read = reader.read_image

    def refused(file: object, **options: object) -> bytes:
        if name in str(file):
            raise PermissionError(13, "Permission denied")
        return read(file, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "read_image", refused)


class Loud(BlockMeans):
    """Gives of a white picture numbers that float16 does not have."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        white = (pixels > 0.99).flatten(1).all(dim=1)
        return super().encode_image(pixels) * torch.where(white, 1e6, 1.0)[:, None]


def test_a_vector_too_large_for_float16_costs_itself(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in quarantine for its model, among the first images as later, and the night goes on."""
    monkeypatch.setattr(STAND_INS, "kind", Loud)
    for name in ("0white.png", "9white.png"):
        Image.new("RGB", (8 + int(name[0]), 8), "white").save(Path(job.sources[0]) / name)
    half = job.model_copy(update={"vector_dtype": "float16"})
    inline, dask = done_by(half, "inline"), done_by(half, "dask")
    (group,) = inline.failures
    assert group.new == 2
    assert "float16" in str(group.reason)
    assert inline.models["one"].embedded == IMAGES - 2
    assert inline.models["one"].pending == 0
    assert_told_alike(inline, dask)


@contextmanager
def begun(job: Job) -> Iterator[tuple[StoreWriter, RunOrders, AtWork]]:
    """A run whose matrix was empty when its orders were given."""
    with StoreWriter(job.store) as writer:
        scan = discover_images(job, time.time()).number
        prepared = plan_work(job, scan)
        orders = orders_for(job, writer, prepared.matrices, scan, prepared.plan.shards, "inline")
        yield writer, orders, AtWork(orders, "inline")


def test_what_was_compared_with_nothing_is_not_added_to_what_was_begun_since(job: Job) -> None:
    """A worker had nothing to compare with, and somebody else began the matrix: what it left behind when the run was
    killed is refused by name, as it may be of other libraries."""
    with begun(job) as (writer, orders, work):
        intake = Intake(writer, orders)
        (first, shares), (second, _) = list(orders.of("inline"))[:2]
        place, _ = place_of(job, orders.store_id, orders.scan + 1)  # of a run that does not live
        late = work.embed(intake.order(second, shares))
        place.hand_in(replace(late, report=replace(late.report, place="elsewhere")))
        embed_and_store(work, intake.order(first, shares), intake)
        done, refused = take_in_left(job, writer)
        assert not done
        assert "rows-1-inline" in refused[0]
        assert not list(place.names())
        assert int(Store(job.store)["one"].embedded.sum()) == first.images - 1  # one is a copy


def test_a_matrix_that_was_dropped_before_its_first_rows_begins_anew(job: Job) -> None:
    """Another run may have dropped it, as it was empty and not served: the rows are stored all the same."""
    with begun(job) as (writer, orders, work):
        publish(job.store, writer.snapshot().manifest.model_copy(update={"matrices": ()}))
        intake = Intake(writer, orders)
        for shard, fingerprints in orders.of("inline"):
            embed_and_store(work, intake.order(shard, fingerprints), intake)
        assert sum(did.embedded["one"] for did in intake.done) == IMAGES - 2
        assert int(Store(job.store)["one"].embedded.sum()) == IMAGES - 2


def test_of_all_processes_the_worst_check_is_kept(job: Job) -> None:
    """However many have compared what they make with what is stored: one check a run, and no better one hides it."""
    with begun(job) as (writer, orders, work):
        intake = Intake(writer, orders)
        ((shard, fingerprints), *_) = orders.of("inline")
        did = work.embed(intake.order(shard, fingerprints))
        for number, cosine in enumerate((0.9995, 0.9999, 0.9998)):
            checks = {fingerprints[0]: (8, cosine)}
            intake.take(replace(did, report=replace(did.report, place=str(number), checks=checks), unmeasured=()))
        assert [cosine for _, _, cosine in writer.ledger.runs.checks(fingerprints[0])] == [0.9995]


def test_orders_take_no_rows_away(job: Job) -> None:
    """Whatever a worker is called: what it has handed in lies there until the run has taken it in."""
    with begun(job) as (writer, orders, work):
        intake = Intake(writer, orders)
        ((shard, fingerprints), *_) = orders.of("inline")
        place, _ = place_of(job, orders.store_id, orders.scan)
        did = work.embed(intake.order(shard, fingerprints))
        place.hand_in(replace(did, report=replace(did.report, worker="non-stop")))
        place.give(orders, intake)
        assert "rows-0-non-stop" in place.names()


def test_who_is_left_out_is_known_by_the_whole_name(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of machine gpu1 is none of gpu10, though both have the same number."""
    monkeypatch.setattr(remote, "this_process", lambda: "process 7 on gpu1")
    with begun(job) as (_, orders, _work):
        for name, is_left_out in (("dask, process 7 on gpu10", False), ("dask, process 7 on gpu1", True)):
            assert remote._is_left_out(replace(orders, left_out=(name,)), "dask") is is_left_out


@pytest.mark.parametrize(
    "error",
    [
        OtherVectors({"one": "It makes others."}),
        Unanswered(Hang("load", "one")),
        ImageRejected("decode", "No picture."),
    ],
)
def test_errors_come_back_from_other_processes(error: PixelmillError) -> None:
    """With all that they hold."""
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_what_was_not_read_in_a_dead_run_is_told_by_who_looks_now(job: Job) -> None:
    """Its workers could not read a picture: this run reads it, and tells of nothing that is over."""
    with begun(job) as (writer, orders, work):
        intake = Intake(writer, orders)
        ((shard, fingerprints), *_) = orders.of("inline")
        did = work.embed(intake.order(shard, fingerprints))
        place, _ = place_of(job, orders.store_id, orders.scan + 1)  # of a run that does not live
        place.hand_in(
            replace(did, report=replace(did.report, unread=("/x.png: Not there.",), hung=(Hang("read", "x"),)))
        )
        ((taken,), refused) = take_in_left(job, writer)
        assert (taken.embedded, taken.unread, taken.hung, refused) == ({"one": shard.images - 1}, (), (), ())


def test_a_place_that_does_not_answer_ends_no_night_that_needs_none(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """What dead runs left waits there; the report says so."""

    def away(_place: str) -> Handover:
        raise HandoverUnreachable("It is away.")

    monkeypatch.setattr(left, "handover_at", away)
    report = done_by(job, "inline")
    assert report.models["one"].embedded == IMAGES - 2
    assert report.warnings == ("What workers of earlier runs may have handed over was not taken in. It is away.",)


def test_a_process_of_a_cluster_keeps_no_model_for_ever(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells it that a run is over: it gives back what it has loaded when nothing follows."""
    monkeypatch.setattr(remote, "_IDLE", 0.05)
    monkeypatch.setattr("pixelmill.run.steps.release_models", lambda: None)
    done_by(job, "dask")
    assert remote._idle
    remote._idle.join(5.0)
    assert remote._session is None
    assert not loaded._loaded

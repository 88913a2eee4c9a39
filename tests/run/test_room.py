"""A run that cannot fit on the store's disk is not begun, and says what it needs and what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pixelmill.errors import StoreFull
from pixelmill.plan import Plan, cut
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.room import ROW_BYTES, Room, free_bytes, room_for, vector_bytes
from pixelmill.run.steps import preview, run
from pixelmill.store.commit import StoreWriter
from pixelmill.store.extents import Extent
from pixelmill.store.manifest import Manifest, Part
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.models import BlockMeans, spec_of
from tests.support.stores import provenance, shard_rows

IMAGES = 4


def plan(images: int, shard_size: int = 4096) -> Plan:
    return Plan({"a": images}, images, cut(images, shard_size, 1))


def store_of(parts: int, size: int) -> Manifest:
    """A snapshot of so many parts of so many bytes, a row each."""
    files = {f"{n}": Part(file=f"{n}", bytes=size, sha256="", arrays={}) for n in range(parts)}
    return Manifest(store_id="", parts=files, identity=tuple(Extent(n, 1, f"{n}", 0) for n in range(parts)))


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr("pixelmill.run.throughput.gflops", lambda _spec: 1.0)
    (tmp_path / "weights").write_bytes(b"weights")
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32",
    )  # fmt: skip


def let_free(monkeypatch: pytest.MonkeyPatch, number: int, total: int = 2**40) -> None:
    """So many bytes are free, of which the file system tells."""
    usage = type("Usage", (), {"free": number, "total": total})
    monkeypatch.setattr("pixelmill.run.room.shutil.disk_usage", lambda _path: usage)


def test_rows_times_dims_of_all_models(tmp_path: Path) -> None:
    """The vectors of each model, and what each row takes beside; nothing for a plan without images."""
    images = 100_000
    vectors = [(images, vector_bytes(512, "float32")), (images // 2, vector_bytes(768, "float16"))]
    needed = room_for(plan(images), vectors, None, tmp_path).needed
    cells = images * 512 * 4 + images // 2 * 768 * 2 + images * ROW_BYTES
    assert cells < needed < 1.01 * cells
    assert room_for(plan(0), [(0, 2049)], None, tmp_path).needed == 0


def test_what_a_compaction_writes_anew_counts(tmp_path: Path) -> None:
    """A run that ends with more than 200 parts merges the small ones, which stay for a day; large ones stay as they
    are."""
    few, many = store_of(10, 1000), store_of(199, 1000)
    vectors = [(10_000, 1024)]
    alone = room_for(plan(10_000), vectors, few, tmp_path).needed
    assert room_for(plan(10_000), vectors, many, tmp_path).needed == 2 * alone + 199 * 1000
    assert room_for(plan(10_000), vectors, store_of(199, 2**28), tmp_path).needed == 2 * alone


def test_what_is_reckoned_is_what_a_store_takes(tmp_path: Path) -> None:
    """Never less than a store of as many rows has become, its ledger and log with it; and not more than some pages."""
    numbers, dim = range(3000), 512
    before = sum(1 for _ in tmp_path.iterdir())
    with StoreWriter(tmp_path / "store") as writer:
        matrix = writer.matrix(provenance("a", dim=dim), "float32")
        writer.commit(shard_rows(numbers, [matrix]))
        taken = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert before == 0
    needed = room_for(plan(len(numbers)), [(len(numbers), vector_bytes(dim, "float32"))], None, tmp_path).needed
    assert 0.7 * needed < taken < needed
    assert np.isfinite(Store(tmp_path / "store")["a"].read()).all()


def test_unknown_room_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that says nothing of its size, or cannot be asked, is written to until it refuses; a folder that is
    not there yet lies where its parent does."""
    assert free_bytes(tmp_path / "not/there/yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    let_free(monkeypatch, 0, total=0)
    assert free_bytes(tmp_path) is None
    assert not Room(10**15, None).lacking
    assert Room(11, 10).lacking
    assert not Room(10, 10).lacking


def test_a_run_that_cannot_fit_embeds_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails when the plan is made, with what it needs and what there is; a dry run says so before; with room enough
    the next run does it all."""
    let_free(monkeypatch, 5000)
    words = r"Expected \d\d\.\d kB of free space in .*store for what is to be embedded\. Found 5\.0 kB\. Nothing was"
    told = preview(job)
    assert told.bytes_needed > told.bytes_free == 5000
    seen = BlockMeans.seen
    with pytest.raises(StoreFull, match=words):
        run(job)
    assert BlockMeans.seen == seen
    assert len(Store(job.store)) == 0
    let_free(monkeypatch, 10**9)
    assert preview(job).failure == ""
    assert run(job).models["one"].embedded == IMAGES
    let_free(monkeypatch, 0)
    assert run(job).models["one"].embedded == 0, "nothing is to be stored"

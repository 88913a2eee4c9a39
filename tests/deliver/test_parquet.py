"""Parquet files on disk and on S3, read by DuckDB and Polars as others would."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pixelmill.deliver import base
from pixelmill.deliver import check as checking
from pixelmill.deliver.deliver import check, deliver, preview_delivery
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.sources.ranges import RangeFile
from pixelmill.store.commit import StoreWriter
from pixelmill.travel.handover import FolderHandover
from tests.support.delivery_engine import Engine
from tests.support.meter import Meter
from tests.support.parquet_engine import Bucket, Folder, ParquetEngine
from tests.support.photos import Photos
from tests.support.s3 import S3, forget_connections
from tests.support.stores import provenance, record_files, shard_rows
from tests.support.target_contract import TargetContract
from tests.support.targets.asking import BLOCK, delivered, delivery_to, require_sound, watched

_numbers = itertools.count()


@pytest.fixture
def bucket(s3_server: S3) -> Bucket:
    return Bucket(s3_server, f"parquet{next(_numbers)}")


class TestFolder(TargetContract):
    """Parquet files in a folder."""

    modules = ("pixelmill.deliver.parquet",)

    @pytest.fixture
    def engine(self, memory: Path) -> Engine:
        return Folder(str(memory / "target"))


@pytest.mark.slow
class TestBucket(TargetContract):
    """Parquet files on a server that speaks S3."""

    is_second = True
    modules = ("pixelmill.deliver.parquet", "s3fs")

    @pytest.fixture
    def engine(self, bucket: Bucket) -> Engine:
        return bucket


@pytest.fixture(params=["folder", "bucket"])
def engine(request: pytest.FixtureRequest, memory: Path) -> ParquetEngine:
    if request.param == "folder":
        return Folder(str(memory / "target"))
    found = request.getfixturevalue("bucket")
    assert isinstance(found, Bucket)
    return found


@pytest.fixture
def photos(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Photos:
    """A store of 20 photos, in blocks of 8 rows."""
    monkeypatch.setattr(base, "BLOCK", BLOCK)
    return Photos(memory / "store")


def test_a_delivery(engine: ParquetEngine, photos: Photos) -> None:
    """What is delivered is all there; what is new, other and gone the next one brings, and a check finds nothing."""
    delivery = delivery_to(engine)
    assert delivered(engine, photos, delivery).is_anew
    photos.add(9)
    photos.change(2)
    photos.remove(3)
    assert not delivered(engine, photos, delivery).is_anew
    require_sound(photos, delivery)


def test_who_reads_on_while_a_new_generation_takes_the_place(engine: ParquetEngine, photos: Photos) -> None:
    """The files that a reader has begun with are there, as they were, until the next delivery, which removes them."""
    delivery = delivery_to(engine)
    for _ in range(2):
        delivered(engine, photos, delivery, full=True)
        old = engine.current("vectors")
        assert old
        rows = engine.read(old["files"])
        photos.change(3)
        assert delivered(engine, photos, delivery, full=True).is_anew
        assert engine.read(old["files"]) == rows
        assert not delivered(engine, photos, delivery).is_anew
        assert not any(old["generation"] in name for name in engine.names())


class Ended(BaseException):
    """A process that comes to its end, as far as those can tell who come after it."""


def comes_to_its_end(work: Callable[[], object], calls: int) -> bool:
    """Whether `work` is done with so many files written or removed; else it has ended in front of the next one."""
    left = itertools.count(calls, -1)

    def counted(method: Any) -> Any:
        def call(*args: Any) -> Any:
            if next(left) <= 0:
                raise Ended
            return method(*args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("put", "remove", "clear"):
            patch.setattr(FolderHandover, name, counted(getattr(FolderHandover, name)))
        try:
            work()
        except Ended:
            return False
    return True


@pytest.mark.parametrize("what", ["first", "empty", "changes", "generation"])
def test_an_end_before_any_file(photos: Photos, memory: Path, what: str) -> None:
    """Whichever file is the last to be written or removed, readers see what was there before or what is to be there,
    and the next delivery makes it equal: a first one, one of no rows, one of changes, one made anew."""
    for calls in itertools.count():
        engine = Folder(str(memory / f"{calls}"))
        delivery = delivery_to(engine)
        if what in ("changes", "generation"):
            delivered(engine, photos, delivery)
            delivered(engine, photos, delivery, full=True)  # whose files of before are there still
            photos.change(3)
            photos.remove(1)
        elif what == "empty":
            photos.remove(100)
        is_done = comes_to_its_end(partial(deliver, photos.folder, delivery, full=what == "generation"), calls)
        engine.rows("vectors")
        delivered(engine, photos, delivery)
        require_sound(photos, delivery)
        if is_done:
            break
    assert calls > 2


def test_half_of_a_file_goes(photos: Photos, memory: Path) -> None:
    """What a delivery that was killed left of a file the one of the next day removes, though it changes nothing; a
    check and a preview leave it."""
    engine = Folder(str(memory / "target"))
    delivery = delivery_to(engine)
    delivered(engine, photos, delivery)
    half = Path(engine.place) / Path(engine.file("vectors", 0)).with_name(".rows-0000000.parquet.0123abcd.tmp")
    half.write_bytes(b"half")
    delivered(engine, photos, delivery)
    os.utime(half, (0, 0))
    require_sound(photos, delivery)
    preview_delivery(photos.folder, delivery)
    assert half.exists()
    delivered(engine, photos, delivery)
    assert not half.exists()


@pytest.mark.parametrize("at", [0, 1, 4], ids=["before-a-block", "after-a-block", "later"])
def test_a_machine_that_delivers_something_else_meanwhile(engine: ParquetEngine, photos: Photos, at: int) -> None:
    """Two copies of a store, of which one has other labels, write the same rows at the same time. Who finds what is
    known of the generation to be another's says so, and nothing that either takes for right is believed."""
    delivery, twin = delivery_to(engine), photos.twin()
    twin.random.seed("other labels")
    delivered(engine, photos, delivery)
    photos.relabel()
    twin.relabel()
    keeps = iter(range(at + 1))

    @contextmanager
    def together(name: str) -> Iterator[None]:
        if name == "keep" and next(keeps, None) == at:
            assert deliver(twin.folder, delivery).sent
        yield

    with watched(together), pytest.raises(TargetUnavailable, match=r"alone\. Something else does so too"):
        deliver(photos.folder, delivery)
    assert delivered(engine, photos, delivery).sent
    require_sound(photos, delivery)


def test_a_file_that_is_replaced_while_it_is_read(
    engine: ParquetEngine, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another machine, between two pieces: nobody takes a part of each for the whole. It is said, and the next one
    goes on."""
    delivery = delivery_to(engine)
    delivered(engine, photos, delivery)
    file = engine.file("vectors", 0)
    before, read = engine.get(file), RangeFile.part

    def replaced(self: RangeFile, start: int, stop: int) -> bytes:
        engine.put(file, before[: len(before) // 2])
        return read(self, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(RangeFile, "part", replaced)
        with pytest.raises(TargetUnavailable, match=r"It was replaced while it was read\.$"):
            check(photos.folder, delivery)
    engine.put(file, before)
    require_sound(photos, delivery)


def test_files_that_are_cut_off(engine: ParquetEngine, photos: Photos) -> None:
    """A file that is damaged is refused, with what to do."""
    delivery = delivery_to(engine)
    delivered(engine, photos, delivery)
    file = engine.file("vectors", 0)
    whole = engine.get(file)
    for damaged in (b"", whole[: len(whole) // 2], bytes(len(whole) - 1000) + whole[-1000:]):
        engine.put(file, damaged)
        with pytest.raises(DeliveryRefused, match=r"Expected files of a delivery in .*\. Remove the folder"):
            check(photos.folder, delivery)
    for name in engine.names():
        engine.remove(name)
    delivered(engine, photos, delivery)


def test_a_check_reads_what_it_compares(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files elsewhere rows and digests are fetched, and not the vectors beside them, but for those of the sample."""
    rows, dim = 3000, 250
    with StoreWriter(tmp_path / "store") as writer:
        record_files(writer, range(rows))
        writer.commit(shard_rows(range(rows), [writer.matrix(provenance("a", dim=dim), "float32")]))
    monkeypatch.setattr(base, "BLOCK", 1000)
    delivery = Delivery(name="vectors", to=bucket.to, models=("a",))
    assert deliver(tmp_path / "store", delivery).sent == rows
    whole = sum(len(bucket.get(name)) for name in bucket.names())
    assert whole > rows * dim * 2
    with Meter(bucket.server.port).running() as meter, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", meter.url)
        forget_connections()
        assert check(tmp_path / "store", delivery).compared == rows
        assert meter.bytes > whole
        meter.bytes = 0
        patch.setattr(checking, "SAMPLE", 0)
        assert check(tmp_path / "store", delivery).differences == ()
        assert 0 < meter.bytes < whole / 4
        meter.bytes = 0
        assert deliver(tmp_path / "store", delivery).is_equal
        assert 0 < meter.bytes < whole / 4
        forget_connections()
    forget_connections()


@pytest.mark.parametrize(
    ("place", "told"),
    {
        "https://a/b": "HTTP gives files and takes none",
        "nothing://a/b": "fsspec",
        "s3://nobucket/b": "bucket does not exist",
        "/dev/null/b": "Not a directory",
        "/data/vectors[1]": r"Expected a place without any of \* \? \[ \] \{ \},",
    }.items(),
)
def test_places_that_take_nothing(photos: Photos, s3_server: S3, place: str, told: str) -> None:
    """They are refused, with the reason, and nothing is said of places where a run's workers hand over."""
    with pytest.raises(DeliveryRefused, match=told) as refused:
        deliver(photos.folder, Delivery(name="vectors", to=f"parquet:{place}", models=("a",)))
    assert "handover" not in str(refused.value)
    assert "hand over" not in str(refused.value)

"""One matrix, one kind of vectors, from the first night: the first that are stored are the measure for everybody."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
import torch

from pixelmill.errors import EmbeddingFailed
from pixelmill.plan import Shard
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.loaded import release_models
from pixelmill.run.prepare import prepare
from pixelmill.run.results import ShardReport
from pixelmill.run.scan import scan_sources
from pixelmill.run.steps import run
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.numbered import NUMBER_OF, content, expected_vector
from tests.support.shards import embed_shard

SHIFT = 5.0


class Library(BlockMeans):
    """A model whose output changes with the library of the machine; what is to happen beside it may be given."""

    shift = 0.0
    meanwhile: Callable[[], None] | None = None

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        shift, meanwhile = Library.shift, Library.meanwhile
        Library.meanwhile = None
        if meanwhile:
            meanwhile()
        vectors = super().encode_image(pixels)
        vectors[:, 0] += shift
        return vectors


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Of four pictures in two shards, by a model whose weights are in a file."""
    monkeypatch.setattr(STAND_INS, "kind", Library)
    monkeypatch.setattr(Library, "shift", 0.0)
    monkeypatch.setattr(Library, "meanwhile", None)
    (tmp_path / "weights").write_bytes(b"first")
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"{number}.png").write_bytes(content(number))
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", shard_size=2, batch_size=2, threads=1,
        max_pixels=10**8, max_aspect=100.0, max_bytes=10**8,
    )  # fmt: skip


def first(job: Job) -> Job:
    """A store that holds nothing."""
    return job


def second_model(job: Job) -> Job:
    """A model that is added to a store later."""
    run(job)
    return job.model_copy(update={"specs": (*job.specs, spec_of("second", job.store.parent))})


def new_weights(job: Job) -> Job:
    """A generation that begins."""
    run(job)
    Path(job.specs[0].weights.url.removeprefix("file:")).write_bytes(b"second")
    return job


class Night:
    """A night with two workers, in the middle of whose first shards we are."""

    def __init__(self, job: Job, writer: StoreWriter) -> None:
        self.job, self.writer = job, writer
        self.scan = scan_sources(writer.ledger, job.sources).number
        prepared = prepare(job, writer, self.scan)
        matrices, plan = prepared.matrices, prepared.plan
        self.matrix = matrices[-1]
        self.shards: tuple[Shard, ...] = plan.shards
        self.refused = ""

    def embed(self, worker: str, number: int, shift: float) -> ShardReport | None:
        """A shard, by a worker in a process of its own, with its own library."""
        release_models()
        Library.shift = shift
        try:
            return embed_shard(self.job, self.writer, [self.matrix], self.scan, self.shards[number], worker=worker)
        except EmbeddingFailed as error:
            self.refused = str(error)
            return None
        finally:
            release_models()

    def at_once(self, shifts: tuple[float, float], *, storing: bool = False) -> None:
        """Two workers begin at once. `late` is overtaken while it embeds, or has just looked and is about to store."""

        def meanwhile() -> None:
            self.embed("quick", 1, shifts[1])
            Library.shift = shifts[0]

        real, waits = StoreWriter.commit, [True]

        def commit(writer: StoreWriter, *rows: Any, **looked_at: Any) -> Any:
            if waits and waits.pop():
                meanwhile()
            return real(writer, *rows, **looked_at)

        if storing:
            with mock.patch.object(StoreWriter, "commit", commit):
                self.embed("late", 0, shifts[0])
        else:
            Library.meanwhile = meanwhile
            self.embed("late", 0, shifts[0])


def kinds(job: Job, matrix: Matrix) -> set[float]:
    """By how much the vectors of a matrix, as plain h5py reads them, are off those of the right library."""
    with h5py.File(job.store / "vectors.h5") as file:
        values = file[matrix.published_name][:]
        numbers = [NUMBER_OF[row.tobytes()] for row in file["images/sha256"][:]]
    made = matrix.provenance
    right = np.stack([expected_vector(number, made.model, made.weights_sha256) for number in numbers])
    off = (values - right)[np.isfinite(values).all(axis=1)]
    return {round(float(shift), 3) for shift in off[:, 0]}


@pytest.mark.parametrize("storing", [False, True], ids=["embeds", "stores"])
@pytest.mark.parametrize("begin", [first, second_model, new_weights])
@pytest.mark.parametrize("shifts", [(SHIFT, 0.0), (0.0, SHIFT)], ids=["odd-late", "odd-quick"])
def test_two_workers_at_once_on_an_empty_matrix(
    job: Job, begin: Callable[[Job], Job], shifts: tuple[float, float], storing: bool
) -> None:
    """Neither finds anything to compare with when it begins. The first to store is the measure; the other compares
    before it stores, stores nothing, and is told of by name."""
    job = begin(job)
    with StoreWriter(job.store) as writer:
        night = Night(job, writer)
        night.at_once(shifts, storing=storing)
        assert "worker 'late'" in night.refused
        assert "Nothing was embedded here" in night.refused
        filled = Store(job.store).manifest.matrix(night.matrix.provenance.fingerprint)
        assert filled
        assert kinds(job, filled) == {shifts[1]}
        assert night.embed("late", 0, shifts[1]), "with the same library it goes on"
    assert verify(job.store) == []


@pytest.mark.parametrize("storing", [False, True], ids=["embeds", "stores"])
def test_two_workers_that_agree_fill_one_matrix(job: Job, storing: bool) -> None:
    """One that was overtaken compares, finds the same, and stores all that it made."""
    with StoreWriter(job.store) as writer:
        night = Night(job, writer)
        night.at_once((0.0, 0.0), storing=storing)
        assert not night.refused
    view = Store(job.store)["one"]
    assert view.embedded.all()
    assert kinds(job, view.matrix) == {0.0}


def test_a_worker_that_begins_later_in_the_first_night(job: Job) -> None:
    """By then there is something to compare with: it embeds nothing at all."""
    with StoreWriter(job.store) as writer:
        night = Night(job, writer)
        assert night.embed("quick", 0, 0.0)
        before = BlockMeans.seen
        assert night.embed("odd", 1, SHIFT) is None
        assert BlockMeans.seen - before == 2, "the two that are stored"
        assert "worker 'odd'" in night.refused
        assert writer.ledger.runs.checks(night.matrix.provenance.fingerprint) == [], "the sample did not drift"


def test_a_machine_that_does_not_see_the_first_images_compares_with_others(job: Job) -> None:
    """The first images of a matrix lie where this worker cannot read: the last ones are compared."""
    run(job)
    for number in range(20, 30):
        write_other(job, number)
    wide = job.model_copy(update={"sources": (*job.sources, other(job))})
    run(wide)
    shutil.rmtree(job.sources[0])
    write_other(job, 40)
    with StoreWriter(job.store) as writer:
        night = Night(job.model_copy(update={"sources": (other(job),)}), writer)
        assert night.embed("odd", 0, SHIFT) is None
        assert "worker 'odd'" in night.refused


def test_what_cannot_be_compared_is_told(job: Job) -> None:
    """None of the stored images can be read any more, though they are not known to be gone: what is new is embedded,
    and the report says that nobody could compare."""
    run(job)
    shutil.rmtree(job.sources[0])
    write_other(job, 40)
    report = run(job.model_copy(update={"sources": (other(job),)}))
    assert report.models["one"].embedded == 1
    assert any("could read none of the images" in warning for warning in report.warnings)


def other(job: Job) -> str:
    return str(job.store.parent / "other")


def write_other(job: Job, seed: int) -> None:
    """A picture in another source, with a content of its own."""
    from PIL import Image

    Path(other(job)).mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(Path(other(job)) / f"{seed}.png")

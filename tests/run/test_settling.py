"""A matrix that is new to a run of several: its first rows are stored first, and are what everybody is measured by."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch

from pixelmill.report.model import RunReport
from pixelmill.run.handoff import place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.share import do_share
from pixelmill.run.steps import Steps, run
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.support.models import STAND_INS, BlockMeans, share_out_by_guess, spec_of
from tests.support.numbered import NUMBER_OF, OTHERS, content, expected_vector

SHIFT = 5.0
FIRST = 8
"""Images with which a new matrix begins."""
NUMBERS = OTHERS[:20]


class Library(BlockMeans):
    """A model whose output changes with the library of the machine."""

    shift: ClassVar[float] = 0.0

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        vectors = super().encode_image(pixels)
        vectors[:, 0] += Library.shift
        return vectors


class InTurn:
    """Workers that do their shares one after the other, each with its own library."""

    def __init__(self, **shifts: float) -> None:
        self.shifts = shifts
        self.settled: list[int] = []
        """How many images were stored after a turn of settling."""
        self.measured: list[tuple[bool, int]] = []
        """By what workers were measured, in each round: whether by nothing, and by how many images."""
        self.handed_in: list[str] = []
        """What lay at the hand-over place when a worker had done its share."""

    def __call__(self, orders: RunOrders, intake: Intake) -> Lost:
        place, name = place_of(orders.job, orders.store_id, orders.scan)
        place.give(orders, intake)
        lost = Lost()
        for worker in orders.workers:
            Library.shift = self.shifts[worker]
            try:
                do_share(name, worker)
            except Exception as error:
                lost[worker] = f"Failed: {error}"
            self.handed_in += [name for name in place.names() if name.startswith(("rows-", "settled-"))]
            place.take_in(intake)
        if orders.settling:
            self.settled.append(len(Store(orders.job.store)))
        self.measured += [(measure.is_new, len(measure.vectors)) for measure in orders.measures.values()]
        place.clear()
        return lost


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A first night of two workers over twenty pictures."""
    monkeypatch.setattr(STAND_INS, "kind", Library)
    share_out_by_guess(monkeypatch)
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    for number in NUMBERS:
        (tmp_path / "photos" / f"{number}.png").write_bytes(content(number))
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        shard_size=3, fan_out="workers", workers=(Worker(name="one"), Worker(name="two")),
    )  # fmt: skip


def kinds(job: Job, matrix: str) -> dict[float, int]:
    """By how much vectors, as plain h5py reads them, are off those of the right library, and how many each."""
    weights = Store(job.store)["one"].provenance.weights_sha256
    with h5py.File(job.store / "vectors.h5") as file:
        values, contents = file[matrix][:, 0], file["images/sha256"][:]
    right = [expected_vector(NUMBER_OF[row.tobytes()], "one", weights)[0] for row in contents]
    off = (values - np.array(right))[np.isfinite(values)]
    shifts, counts = np.unique(np.round(off, 3), return_counts=True)
    return dict(zip(shifts.tolist(), counts.tolist(), strict=True))


def night(job: Job, crew: InTurn) -> RunReport:
    report = run(job, Steps(embed=crew))
    assert report.models["one"].pending == 0
    assert verify(job.store) == []
    return report


def test_the_first_rows_are_the_measure_of_all_others(job: Job) -> None:
    """One worker settles the matrix and embeds eight images, which are stored before any shard is given out; both have
    compared with them before they hand in."""
    crew = InTurn(one=0.0, two=0.0)
    report = night(job, crew)
    assert crew.settled == [FIRST]
    assert crew.measured == [(False, FIRST)]
    assert crew.handed_in[0] == "settled-0-one"
    assert {name.rpartition("-")[2] for name in crew.handed_in[1:]} == {"one", "two"}
    assert report.self_check["one"].compared == FIRST
    assert {worker: did.images for worker, did in report.workers.items()} == {"one": FIRST + 6, "two": 6}
    assert kinds(job, "vectors/one") == {0.0: len(NUMBERS)}


def test_how_a_worker_found_the_precision_is_told_by_the_run(job: Job) -> None:
    """It travels with what the worker settled."""
    report = night(job.model_copy(update={"precision": "auto"}), InTurn(one=0.0, two=0.0))
    found = report.models["one"].precision_measured
    assert found is not None
    assert (found.precision, found.pictures, found.batch_size) == (report.models["one"].precision, len(NUMBERS), 2)
    assert [tried.precision for tried in found.tried] == ["bfloat16"]


@pytest.mark.parametrize("first", [0.0, SHIFT], ids=["odd-second", "odd-first"])
def test_a_worker_with_another_library_is_refused_in_the_first_night(job: Job, first: float) -> None:
    """It hands in no row, and is told of by name; the other does its share. Whoever settles the matrix is right."""
    crew = InTurn(one=first, two=SHIFT - first)
    report = night(job, crew)
    assert kinds(job, "vectors/one") == {first: len(NUMBERS)}
    assert report.workers["two"].images == 0
    (told,) = (warning for warning in report.warnings if "was lost" in warning)
    assert "Expected worker 'two' to make of one" in told
    assert "Nothing was embedded here" in told


def test_a_generation_begins_when_nobody_makes_what_is_stored(job: Job) -> None:
    """All workers have another library in the second night, in which there is work for one: asked one by one, none makes
    what is stored. Together they fill a new matrix, from all images, and nobody is lost; the old one stays as it was."""
    job = job.model_copy(update={"workers": (*job.workers, Worker(name="three"))})
    night(job, InTurn(one=0.0, two=0.0, three=0.0))
    number = OTHERS[len(NUMBERS)]
    Path(job.sources[0], f"{number}.png").write_bytes(content(number))
    report = night(job, InTurn(one=SHIFT, two=SHIFT, three=SHIFT))
    old, new = Store(job.store).manifest.matrices
    assert (old.provenance.generation, new.provenance.generation) == (1, 2)
    assert kinds(job, "vectors/one") == {SHIFT: len(NUMBERS) + 1}
    assert kinds(job, old.published_name) == {0.0: len(NUMBERS)}
    assert report.workers.keys() == {"one", "two", "three"}
    assert not [warning for warning in report.warnings if "was lost" in warning]
    assert any("does not make what is stored any more" in line for line in report.notable)

"""Workers that die, hang, lie and come back: the store ends as one process would have filled it, or the run names them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch

from pixelmill.errors import DeviceUnavailable, WorkersLost
from pixelmill.report.model import RunReport
from pixelmill.run import handoff, lost, schedule
from pixelmill.run.answer import ShardAnswer
from pixelmill.run.handoff import RunPlace, place_at, place_of
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job, Worker
from pixelmill.run.lost import WorkerRun, judge, life_of
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.share import do_share
from pixelmill.run.steps import Steps, run
from pixelmill.run.worker import AtWork
from pixelmill.store.verify import verify
from pixelmill.travel.shard_order import ShardOrder
from pixelmill.watch.clocks import past
from tests.conftest import SavePicture
from tests.support.models import BlockMeans, share_out_by_guess, spec_of

FIRST, SHARED = 8, 12
"""Pictures that whoever settles the matrix embeds, and those that are shared out then."""
IMAGES = FIRST + SHARED
SOON = 3.0
"""Seconds in the place of minutes."""


class Died(BaseException):
    """Ends a worker as a signal ends a process: nothing is told, nothing is tidied up."""


class Crew:
    """Workers in threads of this process, each with its way, which see nothing of the store but the place where they
    hand over; they are looked after as those of Prefect are."""

    made: ClassVar[list[Crew]] = []

    def __init__(self, settling: str = "", **ways: str) -> None:
        """`settling` is the way of the worker `one` when it is to settle a model."""
        Crew.made.append(self)
        self.ways = ways
        self.settling = settling
        self.came_back = threading.Event()
        """Those that hang or are late go on."""
        self.is_over = False
        self.threads: list[threading.Thread] = []
        self.settled_by: list[str] = []
        self.rounds: list[dict[str, int]] = []
        self.batches = Counter[str]()
        self.deadline: float | None = None

    def __call__(self, orders: RunOrders, intake: Intake) -> Lost:
        """Have orders carried out, as `run_workers` does."""
        self.deadline = orders.job.deadline
        self.settled_by += orders.settling
        if orders.shares:
            self.rounds.append({worker: len(shards) for worker, shards in orders.shares.items()})
        place, name = place_of(orders.job, orders.store_id, orders.scan)
        place.give(orders, intake)
        begun, ends, gone = time.monotonic(), dict[str, str](), Lost()
        waiting = {worker: self._begin(orders, name, worker, ends) for worker in orders.workers}
        while waiting:
            time.sleep(0.02)
            place.take_in(intake)
            for worker in list(waiting):
                verdict = judge(
                    self._seen(worker, ends, place, time.monotonic() - begun, orders.job.deadline),
                    start_seconds=SOON, is_past_deadline=past(orders.job.deadline), lost_seconds=SOON,
                    starting_seconds=SOON,
                )  # fmt: skip
                if verdict.is_over:
                    del waiting[worker]
                if verdict.why:
                    gone[worker] = verdict.why
        if len(self.rounds) > 1:
            self.release(lambda: place.take_in(intake))
        place.take_in(intake)
        place.clear()
        return gone

    def release(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let those that hang go on, and wait until all have ended."""
        self.came_back.set()
        for thread in self.threads:
            while thread.is_alive():
                meanwhile()
                thread.join(0.02)

    def close(self) -> None:
        self.is_over = True
        self.release()

    def encodes(self, worker: str, way: str) -> None:
        """What becomes of a worker in the middle of a batch."""
        if way == "dies in a shard":
            raise Died
        if way in ("hangs", "is late"):
            self.came_back.wait()
            if way == "hangs" or self.is_over:
                raise Died
        if way == "is slow":
            self.batches[worker] += 1
            while self.batches[worker] > 1 and not past(self.deadline):
                time.sleep(0.05)

    @staticmethod
    def _seen(worker: str, ends: dict[str, str], place: RunPlace, age: float, deadline: float | None) -> WorkerRun:
        if worker in ends:
            return WorkerRun("failed" if ends[worker] else "done", age, words=ends[worker])
        return WorkerRun("running", age, life=life_of(place, worker, age, deadline))

    def _begin(self, orders: RunOrders, place: str, worker: str, ends: dict[str, str]) -> threading.Thread:
        settling = self.settling if worker == "one" else ""
        way = settling if orders.settling else self.ways[worker]
        thread = threading.Thread(target=self._work, args=(place, worker, way, ends), daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def _work(self, place: str, worker: str, way: str, ends: dict[str, str]) -> None:
        AT_WORK.set((self, worker, way))
        try:
            if way == "dies before a shard":
                raise Died
            if way != "lies":
                do_share(place, worker, embed=partial(self._embed, place, way))
        except Died:
            ends[worker] = "Crashed: exit code -9."
        except Exception as error:
            ends[worker] = f"Failed: {type(error).__name__}: {error}"
        ends.setdefault(worker, "")

    def _embed(self, place: str, way: str, work: AtWork, order: ShardOrder) -> ShardAnswer:
        answer = work.embed(order)
        if way == "dies with a shard in its hands":
            raise Died
        if way == "dies after a shard":
            place_at(place).hand_in(answer)
            raise Died
        if way == "is late":  # and hands in twice
            place_at(place).hand_in(answer)
            while not self.is_over and f"rows-{order.number}-{work.worker}" in place_at(place).names():
                time.sleep(0.02)
        return answer


AT_WORK: ContextVar[tuple[Crew, str, str] | None] = ContextVar("AT_WORK", default=None)
"""Whose thread this is, also in those that it starts to wait for them."""


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    """A first night of workers `one` and `two`, with twelve pictures in shards of two beside the first eight."""
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / f"{seed:02}.png", seed, (16, 16))
    (tmp_path / "weights").write_bytes(b"weights")
    return Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        shard_size=2, fan_out="workers",
        workers=(Worker(name="one", device="cpu"), Worker(name="two", device="cpu")),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model of twelve numbers, and seconds in the place of minutes. No thread of a crew outlives the test."""
    real = BlockMeans.encode_image

    def encode_image(self: BlockMeans, pixels: torch.Tensor) -> torch.Tensor:
        if (at_work := AT_WORK.get()) is not None:
            crew, worker, way = at_work
            crew.encodes(worker, way)
        return real(self, pixels)

    monkeypatch.setattr(BlockMeans, "encode_image", encode_image)
    share_out_by_guess(monkeypatch)
    monkeypatch.setattr(handoff, "ALIVE_SECONDS", 0.1)
    monkeypatch.setattr(lost, "COMPUTING_SECONDS", SOON / 1.2)
    yield
    while Crew.made:
        Crew.made.pop().close()


def stored(folder: Path) -> dict[bytes, np.ndarray]:
    """The vectors by path, as plain h5py reads them; each content once, without a gap."""
    with h5py.File(folder / "vectors.h5") as file:
        paths, vectors = file["images/path"][:], file["vectors/one"][:]
        contents = {content.tobytes() for content in file["images/sha256"][:]}
    assert len(contents) == len(paths)
    return {path: vector for path, vector in zip(paths, vectors, strict=True) if not np.isnan(vector).any()}


def assert_as_inline(job: Job) -> None:
    """The store is sound, and holds for each picture what a run in one process gives."""
    alone = job.model_copy(update={"store": job.store.parent / "inline", "fan_out": "inline", "workers": ()})
    run(alone)
    found, expected = stored(job.store), stored(alone.store)
    assert len(expected) == IMAGES
    assert found.keys() == expected.keys()
    for path, vector in found.items():
        np.testing.assert_allclose(vector, expected[path], rtol=1e-6)
    assert verify(job.store) == []
    assert not list((job.store / "runs").iterdir()), "the orders stay behind"


def done_by(job: Job, crew: Crew) -> RunReport:
    return run(job, Steps(embed=crew))


def rest_is_done(job: Job) -> None:
    """Another night does what is left, and nothing else."""
    assert run(job.model_copy(update={"deadline": None}), Steps(embed=Crew(one="", two=""))).models["one"].pending == 0
    assert_as_inline(job)


def test_two_workers_do_what_one_process_does(job: Job) -> None:
    """Each picture is embedded once, and nobody is said to be lost."""
    crew = Crew(one="", two="")
    report = done_by(job, crew)
    assert crew.rounds == [{"one": 3, "two": 3}]
    assert {name: did.images for name, did in report.workers.items()} == {"one": FIRST + 6, "two": 6}
    assert not report.warnings
    assert_as_inline(job)


@pytest.mark.parametrize(
    ("way", "why"),
    [
        pytest.param("dies before a shard", "Crashed: exit code -9.", marks=pytest.mark.slow),
        ("dies in a shard", "Crashed: exit code -9."),
        pytest.param("dies with a shard in its hands", "Crashed: exit code -9.", marks=pytest.mark.slow),
        pytest.param("dies after a shard", "Crashed: exit code -9.", marks=pytest.mark.slow),
        ("hangs", "It lives, but its work has not gone forward"),
        pytest.param("is late", "It lives, but its work has not gone forward", marks=pytest.mark.slow),
        ("lies", "It said that it was done, and has told of 0 of its 3 shards."),
    ],
)
def test_what_a_lost_worker_left_is_done_by_the_other(way: str, why: str, job: Job) -> None:
    """Whenever it is lost: the report says who and why; one that comes back later, with what others have done
    meanwhile, and hands it in twice, changes nothing."""
    crew = Crew(one=way, two="")
    report = done_by(job, crew)
    assert [set(shares) for shares in crew.rounds] == [{"one", "two"}, {"two"}]
    assert report.models["one"].pending == 0
    (told,) = (warning for warning in report.warnings if "was lost" in warning)
    assert told.startswith(f"Worker one was lost: {why}")
    assert told.endswith("What it left was given out again.")
    assert_as_inline(job)


@pytest.mark.parametrize("way", ["dies in a shard", pytest.param("hangs", marks=pytest.mark.slow)])
def test_another_settles_what_a_lost_worker_left(way: str, job: Job) -> None:
    """Whoever is lost while a matrix is settled gets nothing else to do: another worker settles it."""
    crew = Crew(settling=way, one="", two="")
    report = done_by(job, crew)
    assert crew.settled_by == ["one", "two"]
    assert crew.rounds == [{"two": SHARED // 2}]
    assert any(warning.startswith("Worker one was lost: ") for warning in report.warnings)
    assert_as_inline(job)


def test_one_after_the_other_is_lost(job: Job) -> None:
    """Of three workers two are lost in two rounds: the third does all that is left."""
    three = (*job.workers, Worker(name="three", device="cpu"))
    crew = Crew(one="dies after a shard", two="lies", three="")
    report = done_by(job.model_copy(update={"workers": three}), crew)
    assert [set(shares) for shares in crew.rounds] == [{"one", "two", "three"}, {"two", "three"}, {"three"}]
    assert len([warning for warning in report.warnings if "was lost" in warning]) == 2
    assert_as_inline(job)


@pytest.mark.parametrize(
    ("way", "shards"),
    [
        pytest.param("dies before a shard", 0, marks=pytest.mark.slow),
        pytest.param("dies in a shard", 0, marks=pytest.mark.slow),
        ("dies after a shard", 2),
        pytest.param("lies", 0, marks=pytest.mark.slow),
    ],
)
def test_nobody_is_left(way: str, shards: int, job: Job) -> None:
    """The run fails, after its report, and names everybody; what was handed over stays, and the next run does the rest."""
    with pytest.raises(WorkersLost, match="What it left was not done") as failure:
        done_by(job, Crew(one=way, two=way))
    assert all(f"Worker {name} was lost: " in str(failure.value) for name in ("one", "two"))
    assert len(stored(job.store)) == FIRST + 2 * shards
    rest_is_done(job)


def test_a_deadline_in_the_middle(job: Job) -> None:
    """Workers stop after the batch at hand: nobody is lost, what waits is pending, and the next run does it."""
    report = done_by(job.model_copy(update={"deadline": time.time() + 3.0}), Crew(one="is slow", two="is slow"))
    assert report.models["one"].embedded == len(stored(job.store))
    assert report.models["one"].embedded + report.models["one"].pending == IMAGES
    assert FIRST < report.models["one"].embedded < IMAGES
    assert not report.warnings
    rest_is_done(job)


@pytest.mark.slow
def test_a_worker_that_hangs_when_the_deadline_comes(job: Job) -> None:
    """It is given up soon after; the run fails and names it, for the next one would not do better by itself."""
    late = job.model_copy(update={"deadline": time.time() + 2.5})
    with pytest.raises(WorkersLost, match=r"Worker one was lost: It lives, but its work has not gone forward"):
        done_by(late, Crew(one="hangs", two=""))
    assert len(stored(job.store)) == FIRST + SHARED // 2
    rest_is_done(job)


def test_a_device_that_is_not_there(job: Job, tmp_path: Path) -> None:
    """The run fails when the other is done, and names worker and device; the other does not do it all in silence. Where
    the settings say so, the CPU does its work, and the report says that."""
    workers = (Worker(name="one", device="cuda:7"), Worker(name="two", device="cpu"))
    gpu = job.model_copy(update={"workers": workers})
    with pytest.raises(WorkersLost, match=r"Worker one was lost: Failed: DeviceUnavailable: .*cuda:7"):
        done_by(gpu, Crew(one="", two=""))
    assert len(stored(job.store)) == FIRST + SHARED // 2
    stand_in = gpu.model_copy(update={"missing_device": "cpu", "store": tmp_path / "again"})
    report = done_by(stand_in, Crew(one="", two=""))
    assert any("one: Expected device" in w and "The CPU does its work" in w for w in report.warnings)
    assert_as_inline(stand_in)


def test_what_is_left_fits_nobody(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the lost worker could hold the model, the run ends with its report, and names that worker; where nobody
    ever could, the device is named before anything is begun."""
    monkeypatch.setattr(schedule, "memory_needed", lambda _spec: 8 * 2**30)
    workers = (Worker(name="one", device="cpu", memory_gb=16), Worker(name="two", device="cpu", memory_gb=4))
    with pytest.raises(WorkersLost, match=r"Worker one was lost: Crashed"):
        done_by(job.model_copy(update={"workers": workers}), Crew(settling="dies in a shard", one="", two=""))
    with pytest.raises(WorkersLost, match=r"Worker one was lost: Crashed"):
        done_by(job.model_copy(update={"workers": workers}), Crew(one="dies in a shard", two=""))
    with pytest.raises(DeviceUnavailable, match="Found two 4 GB"):
        done_by(job.model_copy(update={"workers": workers[1:]}), Crew(two=""))


def test_a_shard_that_a_cluster_loses_is_done_in_the_next_round(job: Job) -> None:
    """Of a cluster shards are lost, not workers: what is left of them is ordered again, at most twice."""
    cluster = job.model_copy(update={"fan_out": "dask", "workers": ()})
    rounds: list[int] = []

    def start(orders: RunOrders, intake: Intake) -> Lost:
        work = AtWork(orders, "dask")
        for asked in orders.settling.get("dask", ()):
            intake.take_settled(work.settled(asked), "dask")
        if not orders.shares:
            return {}
        rounds.append(len(orders.shards))
        (failed, _), *good = every = list(orders.of("dask"))
        for shard, fingerprints in good if len(rounds) < 3 else every:
            intake.take(work.embed(intake.order(shard, fingerprints)))
        return {f"dask, shard {failed.number}": "KilledWorker: four times"} if len(rounds) < 3 else {}

    report = run(cluster, Steps(embed=start))
    assert rounds == [6, 2, 1]
    assert report.models["one"].pending == 0
    assert any("Worker dask, shard 0 was lost: KilledWorker" in warning for warning in report.warnings)
    assert_as_inline(job)

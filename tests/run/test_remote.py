"""Processes of a cluster: what they keep from one task to the next, and how much of their machine they use."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixelmill.malloc import keep_freed
from pixelmill.run.intake import Intake
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.orders import RunOrders
from pixelmill.run.outcome import Lost
from pixelmill.run.remote import embed_remotely
from pixelmill.run.steps import Steps, run
from tests.support.models import STAND_INS, BlockMeans, spec_of
from tests.support.numbered import OTHERS, content


class Counted(BlockMeans):
    """A model that counts how often it was loaded."""

    loaded = 0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        Counted.loaded += bool(self.weights_sha256)


def by_tasks(orders: RunOrders, intake: Intake) -> Lost:
    """Have one process do what a cluster's tasks are for, and be seen to live by nobody."""
    given = _array(orders.message())

    def task(model: int | None, shard: bytes | None) -> bytes:
        asked = None if shard is None else _array(shard)
        return embed_remotely(lambda _place, _sign: None, given, None, "dask", model, asked, None).tobytes()

    for number in range(len(orders.settling.get("dask", ()))):
        intake.take_settled_message(task(number, None), "a model", "dask")
    for shard, fingerprints in orders.of("dask"):
        intake.take_message(task(None, intake.order(shard, fingerprints).message()), f"shard {shard.number}")
    return {}


def _array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def job_over(folder: Path, **options: Any) -> Job:
    return Job(
        sources=(str(folder / "photos"),), store=folder / "store", specs=(spec_of("one", folder),),
        cache=CacheSpec(cache_dir=folder / "cache"), device="cpu", precision="float32", batch_size=2, threads=1,
        shard_size=3, **{"fan_out": "dask", "cluster_size": 1, **options},
    )  # fmt: skip


def test_a_process_loads_a_model_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model with which it has settled the new matrix embeds the shards too, though the orders are others by then;
    what the next run needs is loaded anew."""
    monkeypatch.setattr(STAND_INS, "kind", Counted)
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "photos").mkdir()
    for night, numbers in enumerate((OTHERS[:12], OTHERS[12:18]), 1):
        for number in numbers:
            (tmp_path / "photos" / f"{number}.png").write_bytes(content(number))
        report = run(job_over(tmp_path), Steps(embed=by_tasks))
        assert (report.models["one"].embedded, report.models["one"].pending) == (len(numbers), 0)
        assert Counted.loaded == night


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 1000])
@pytest.mark.parametrize("said", [None, "3"])
def test_the_processes_of_this_machine_share_its_processors(
    processes: int, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that Dask starts the models have all, of very many one each: a thread for each processor. What the
    environment says comes first, and stays as it is. They keep what is freed, as a run in its own process does."""
    from pixelmill.run import on_dask

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(on_dask, "LocalCluster", _one(on_dask.LocalCluster))
    before = dict(os.environ)
    cluster = on_dask.DaskCluster(job_over(tmp_path, cluster_size=processes))
    try:
        found = cluster._client.submit(os.getenv, "OMP_NUM_THREADS").result()
        faults = cluster._client.submit(faults_of_memory_used_again).result()
        blocked = cluster._client.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    finally:
        cluster.close()
    assert os.environ == before
    assert faults < 1000
    assert signal.SIGINT in blocked, "Ctrl-C is for the run, which tells its processes"
    assert found == (said or str(max(len(os.sched_getaffinity(0)) // processes, 1)))


def faults_of_memory_used_again() -> int:
    """How many pages the kernel has to clear for three arrays of 50 MB, one after the other, when one was freed."""
    keep_freed()
    for turn in range(4):
        if turn == 1:
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        np.ones(50 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


def _one(cluster: Any) -> Any:
    """A cluster as it is asked for, of one process."""
    return lambda **given: cluster(**{**given, "n_workers": 1})

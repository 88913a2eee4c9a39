"""Several processes for one store: Prefect workers, Dask, Ray; some of them die. The result is that of one process."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from torchvision.models import resnet18

import flows._workers
from flows._start import check_server
from flows.vectorize import vectorize
from pixelmill.cli.main import FAILED
from pixelmill.errors import SettingsError, StoreDamaged, StoreError, WorkersLost
from pixelmill.run.cluster_contract import Cluster
from pixelmill.run.job import Job
from pixelmill.run.measure import NIGHTLY
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from settings import load_settings
from settings.job import make_job
from tasks._artifacts import key_of
from tests.conftest import SavePicture
from tests.remote.clusters import OPEN
from tests.support.namespace import Namespace
from tests.support.prefect_server import PREFECT, ROOT, PrefectServer, free_port, wait_until

IMAGES, MODEL = 60, "efficientnet_lite0"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with the pool `cpu`, queues `a` and `b`, and the deployments of `embed` and `vectorize`."""
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        for queue in "ab":
            server.prefect("work-queue", "create", "--pool", "cpu", queue)
        server.prefect("deploy", "flows/embed.py:embed", "--name", "embed-cpu", "--pool", "cpu")
        server.prefect("deploy", "flows/vectorize.py:vectorize", "--name", "vectorize", "--pool", "cpu")
        yield server


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    for seed in range(IMAGES):
        save_picture(tmp_path / "photos" / f"{seed:02}.png", seed)
    return tmp_path / "photos"


def configure(folder: Path, fan_out: str, *workers: str, **run: object) -> str:
    """A settings file; each of `workers` is TOML for one, beside its name and pool."""
    usual = {"fan_out": fan_out, "precision": "float32", "shard_size": 4, "batch_size": 4, "store": f"{folder}/store"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**usual, **run}.items()]
    tables = [f'[[workers]]\nname = "{["one", "two", "three"][i]}"\n{toml}' for i, toml in enumerate(workers)]
    (folder / "pixelmill.toml").write_text("\n".join(["[run]", *lines, *tables]))
    return str(folder / "pixelmill.toml")


ONE, TWO = 'device = "cpu"\nwork_queue = "a"', 'device = "cpu"\nwork_queue = "b"'


def vectors(folder: Path) -> dict[str, np.ndarray]:
    """The vectors by path."""
    store = Store(folder)
    assert store[MODEL].embedded.all()
    return dict(zip(map(os.fsdecode, store.paths), store[MODEL].read(), strict=True))


def assert_as_inline(folder: Path, photos: Path) -> None:
    """The store is sound, and holds for each picture what a run in one process gives."""
    assert verify(folder) == []
    found, expected = vectors(folder), inline(photos)
    assert found.keys() == expected.keys()
    for path, vector in found.items():
        np.testing.assert_allclose(vector, expected[path], rtol=1e-3, atol=1e-4)
    assert not list((folder / "runs").iterdir()), "the orders stay behind"


def inline(photos: Path) -> dict[str, np.ndarray]:
    configure(photos.parent, "inline")
    vectorize([str(photos)], store=str(photos.parent / "inline"))
    return vectors(photos.parent / "inline")


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while the block runs; what it raises, fails the test."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join()
    assert not failures, failures


def some_embedded(folder: Path, least: int = 1) -> bool:
    try:
        return len(Store(folder)) >= least
    except (StoreError, StoreDamaged):
        return False


def process_that_did(server: PrefectServer, folder: Path, worker: str) -> psutil.Process:
    """The process of a worker in the middle of its share, once shards have been done."""
    signs = (folder / "runs").glob
    wait_until(
        lambda: some_embedded(folder, NIGHTLY + 1) and any(signs(f"*/*/{worker}.alive")), 300, f"a shard of {worker}"
    )
    named = [p for p in map(psutil.Process, server.processes()) if f'"worker": "{worker}"' in parameters_of(server, p)]
    assert named, "no process of that worker"
    return named[0]


def parameters_of(server: PrefectServer, process: psutil.Process) -> str:
    run = process.environ().get("PREFECT__FLOW_RUN_ID")
    return json.dumps(server.run(run).parameters) if run else ""  # type: ignore[arg-type]


@pytest.mark.system
@pytest.mark.parametrize("dies", ["nobody", "its process", "its process and its Prefect worker"])
def test_two_prefect_workers_one_of_which_dies(
    dies: str, server: PrefectServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two `embed` runs in two pools' queues share a run. If one is killed in the middle the other does what it left,
    and the report says so; also if nobody is left to tell the server."""
    monkeypatch.setattr(flows._workers, "LOST_SECONDS", 12.0)
    config = configure(tmp_path, "workers", ONE, TWO)
    with ExitStack() as stack:
        first = stack.enter_context(server.worker("cpu", "--work-queue", "a"))
        stack.enter_context(server.worker("cpu", "--work-queue", "b"))
        stack.enter_context(server.used())

        def kill() -> None:
            victim = process_that_did(server, tmp_path / "store", "one")
            if "Prefect worker" in dies:
                first.kill()
            victim.kill()

        if dies != "nobody":
            stack.enter_context(meanwhile(kill))
        report = vectorize([str(photos)], config=config)
    assert report.models[MODEL].pending == 0
    assert set(report.workers) == {"one", "two"}
    assert report.plan.startswith(f"{IMAGES - NIGHTLY} images x 1 model, about ")
    lost = [
        warning for warning in report.warnings if "Worker one was lost" in warning and "was given out again" in warning
    ]
    assert len(lost) == (dies != "nobody")
    if dies == "nobody":
        assert sum(did.images for did in report.workers.values()) == IMAGES
    with server.used():
        assert [bar.data for bar in progress_bars(tmp_path / "store")] == [100.0], "one, the sum of its workers"
        assert_as_inline(tmp_path / "store", photos)


def progress_bars(store: Path) -> list[Artifact]:
    """Those of all runs of a store, on the server that is used."""
    with get_client(sync_client=True) as client:
        return [one for one in client.read_artifacts() if one.key == key_of("progress", store)]


@pytest.mark.system
@pytest.mark.parametrize("mode", ["dask", "ray"])
@pytest.mark.parametrize("dies", [False, True])
def test_a_cluster_one_process_of_which_dies(
    mode: str, dies: bool, server: PrefectServer, photos: Path, tmp_path: Path
) -> None:
    """Two processes of a cluster on this machine do the shards as tasks; one that is killed costs nothing."""
    config = configure(tmp_path, mode, cluster_size=2)
    killed = []

    def kill() -> None:
        wait_until(lambda: some_embedded(tmp_path / "store"), 300, "a first commit")
        killed.append(cluster_process(mode))
        killed[0].kill()

    with server.used(), meanwhile(kill if dies else time.time):
        report = vectorize([str(photos)], config=config)
    assert len(killed) == dies
    assert report.models[MODEL].pending == 0
    assert report.workers.keys() == {mode}
    with server.used():
        assert_as_inline(tmp_path / "store", photos)


@pytest.mark.system
@pytest.mark.parametrize("mode", ["dask", "ray"])
def test_one_task_at_a_time_holds_a_gpu(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster with two places that says that it has one GPU, tasks for a GPU come one after the other; tasks for the
    CPU run beside each other."""
    monkeypatch.setattr(f"pixelmill.run.on_{mode}._embed", hold)
    assert overlap(mode, "cpu", tmp_path, 200.0)
    assert not overlap(mode, "cuda:0", tmp_path, 20.0)


def overlap(mode: str, device: str, folder: Path, patience: float) -> bool:
    """Whether two tasks, submitted as those of a job on `device` are, ran at the same time; each waits so many seconds for
    the other to begin."""
    signs = folder / device
    signs.mkdir()
    with one_gpu(mode) as address:
        config = configure(folder, mode, device=device, cluster=address)
        cluster = cluster_at(mode, make_job(load_settings(Path(config)), [str(folder)]))
        try:
            left, spans = [cluster.submit(str(signs / name), patience) for name in ("a", "b")], []
            while left:
                for task in cluster.done(left):
                    left.remove(task)
                    spans.append(cluster.result(task).tolist())
        finally:
            cluster.close()
    first, second = sorted(spans)
    return bool(second[0] < first[1])


def cluster_at(mode: str, job: Job) -> Cluster:
    if mode == "dask":
        from pixelmill.run.on_dask import DaskCluster

        return DaskCluster(job)
    from pixelmill.run.on_ray import RayCluster

    return RayCluster(job)


@contextmanager
def one_gpu(mode: str) -> Iterator[str]:
    """The address of a cluster of one process with two places and a GPU, which need not be there."""
    if mode == "dask":
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, resources={"GPU": 1}, dashboard_address=None
        ) as cluster:
            yield cluster.scheduler_address
        return
    port = free_port()
    ray = Path(sys.executable).with_name("ray")
    places = ["--num-cpus=2", "--num-gpus=1", "--include-dashboard=false", "--disable-usage-stats"]
    command = [ray, "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", *places]
    env = os.environ | OPEN | {"PYTHONPATH": str(ROOT)}  # its processes import `hold`
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as head:
        try:
            wait_until(lambda: port_is_open(port), 180, "Ray's head", head)
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()


def port_is_open(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def hold(*given: Any) -> np.ndarray:
    """In a task's place: when it began and ended. It ends once the other one has begun, or after its patience."""
    *_, sign, patience = given
    start = time.time()
    Path(sign).touch()
    while len(list(Path(sign).parent.iterdir())) < 2 and time.time() < start + patience:
        time.sleep(0.1)
    return np.array([start, time.time()])


def cluster_process(mode: str) -> psutil.Process:
    """A process of this process's cluster that embeds."""
    sign = {"dask": r"multiprocessing\.spawn", "ray": r"ray::(?!IDLE|\w*Agent)"}[mode]
    lines = {process: " ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)}
    embedding = [process for process, line in lines.items() if re.search(sign, line)]
    assert embedding, f"no process of the cluster among {list(lines.values())}"
    return embedding[0]


@pytest.mark.system
def test_a_pool_that_nobody_polls(server: PrefectServer, photos: Path, tmp_path: Path) -> None:
    """A worker that never begins is passed over after `worker_start_seconds`, and the report says which worker to start;
    without another one the run fails with those words, after the report."""
    both = configure(tmp_path, "workers", ONE, TWO, worker_start_seconds=60.0)
    with server.used(), server.worker("cpu", "--work-queue", "a"):
        report = vectorize([str(photos)], config=both)
    assert report.models[MODEL].pending == 0
    assert any("Worker two was lost" in w and "prefect worker start --pool cpu" in w for w in report.warnings)
    with server.used():
        assert_as_inline(tmp_path / "store", photos)
        alone = configure(tmp_path, "workers", ONE, worker_start_seconds=5.0)
        (photos / "new.png").write_bytes((photos / "00.png").read_bytes() + b"\0")
        time.sleep(flows._workers.LOST_SECONDS)  # until the queue counts as polled no more
        with pytest.raises(WorkersLost, match=r"one was lost: Nobody took its run.*next run does the rest"):
            vectorize([str(photos)], config=alone)


@pytest.mark.system
def test_a_paused_queue(server: PrefectServer, photos: Path, tmp_path: Path) -> None:
    """A queue that somebody paused, though a Prefect worker polls it, holds a run up no longer than `worker_start_seconds`,
    and not beyond the deadline."""
    patient = configure(tmp_path, "workers", TWO, deadline="40s", worker_start_seconds=600.0)
    server.prefect("work-queue", "pause", "b", "--pool", "cpu")
    try:
        with server.used(), server.worker("cpu"):
            report = vectorize([str(photos)], config=patient)
            assert report.models[MODEL].pending == IMAGES
            assert any("The deadline came before it began" in warning for warning in report.warnings)
            report = vectorize(
                [str(photos)], config=configure(tmp_path, "workers", ONE, TWO, worker_start_seconds=60.0)
            )
    finally:
        server.prefect("work-queue", "resume", "b", "--pool", "cpu")
    assert any(
        "queue 'b' of 'cpu' is paused" in warning and "was given out again" in warning for warning in report.warnings
    )
    assert report.models[MODEL].pending == 0


@pytest.mark.system
def test_a_gpu_that_is_not_there(server: PrefectServer, photos: Path, tmp_path: Path) -> None:
    """A worker asked for a GPU where there is none: the run fails and names the device, or, where the settings say so, the
    CPU does its work and the report says that. Never silence."""
    gpu = 'device = "cuda:7"\nwork_queue = "a"'
    with server.used(), server.worker("cpu"):
        with pytest.raises(WorkersLost, match=r"one was lost.*DeviceUnavailable.*cuda:7"):
            vectorize([str(photos)], config=configure(tmp_path, "workers", gpu, TWO))
        assert Store(tmp_path / "store")[MODEL].embedded.sum() < IMAGES, "the other worker did not do it all in silence"
        report = vectorize([str(photos)], config=configure(tmp_path, "workers", gpu, TWO, missing_device="cpu"))
        assert any("one: Expected device" in w and "The CPU does its work" in w for w in report.warnings)
        assert report.models[MODEL].pending == 0
        assert_as_inline(tmp_path / "store", photos)


@pytest.mark.system
@pytest.mark.parametrize("where", ["nowhere", "where no worker sees it"])
def test_a_model_that_cannot_be_had(where: str, server: PrefectServer, photos: Path, tmp_path: Path) -> None:
    """The checkpoint of one of two models lies nowhere, or where no worker sees it: the other's vectors are those of one
    process. The command ends with 1 and its run is Failed, both with what brings weights; the next run does the rest."""
    checkpoint, log = tmp_path / "own" / "resnet.pth", tmp_path / "worker.log"
    checkpoint.parent.mkdir()
    torch.save(resnet18().state_dict(), checkpoint)
    config = configure(tmp_path, "workers", ONE, TWO, models=[MODEL, "mine"])
    own = f'[models.mine]\nbackend = "torchvision"\narchitecture = "resnet18"\ncheckpoint = "{checkpoint}"\n'
    Path(config).write_text(f"{Path(config).read_text()}\n{own}")
    if where == "nowhere":
        checkpoint.rename(tmp_path / "resnet.pth")
    command = [sys.executable, "-m", "pixelmill", "run", str(photos), "--config", config]
    worker = (*PREFECT, "worker", "start", "--pool", "cpu", "--type", "process")
    with (
        Namespace(hidden=[checkpoint.parent]) as there,
        there.running(*worker, log=log, cwd=ROOT, env=server.env),
    ):
        done = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=400)
    assert done.returncode == FAILED, done.stderr
    for words in (done.stderr, message_of_the_last_run(server)):
        assert "mine could not be had" in words
        assert "`pixelmill pull mine`" in words
        assert "`pixelmill weights bundle`" in words
    with Ledger(tmp_path / "store") as ledger:
        (kept,) = ledger.runs.last()
    counts = {model: (found["embedded"], found["pending"]) for model, found in kept["models"].items()}
    assert counts == {MODEL: (IMAGES, 0), "mine": (0, IMAGES)}
    assert set(kept["workers"]) == {"one", "two"}
    if where == "nowhere":
        (tmp_path / "resnet.pth").rename(checkpoint)
    Path(config).write_text(Path(config).read_text().replace('"workers"', '"inline"'))
    with server.used():
        report = vectorize([str(photos)], config=config)
        assert {model: found.embedded for model, found in report.models.items()} == {MODEL: 0, "mine": IMAGES}
        assert_as_inline(tmp_path / "store", photos)


def message_of_the_last_run(server: PrefectServer) -> str:
    """Of `vectorize`; it has Failed."""
    with server.used(), get_client(sync_client=True) as client:
        mine = FlowFilter(name=FlowFilterName(any_=["vectorize"]))
        (run,) = client.read_flow_runs(flow_filter=mine, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    assert run.state
    assert run.state.name == "Failed"
    return run.state.message or ""


@pytest.mark.system
@pytest.mark.parametrize("fan_out", ["inline", "workers"])
def test_cancelling_stops_all_and_harms_nothing(
    fan_out: str, server: PrefectServer, photos: Path, tmp_path: Path, save_picture: SavePicture
) -> None:
    """A run that is cancelled, as the UI does it, ends with all its workers within seconds. What was embedded by then,
    of shards that are not done too, is stored and reported, and the next run does the rest."""
    for seed in range(IMAGES, 6 * IMAGES):
        save_picture(photos / f"{seed:03}.png", seed)
    config = configure(tmp_path, fan_out, ONE, TWO, shard_size=60)
    with server.used(), server.worker("cpu"):
        run = run_deployment("vectorize/vectorize", parameters={"sources": [str(photos)], "config": config}, timeout=0)
        wait_until(lambda: some_embedded(tmp_path / "store", 20), 240, "a first commit")
        time.sleep(1.0)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())
            assert server.wait_for(run.id, seconds=120).name == "Cancelled"
            states = {state.name for state in client.read_flow_run_states(run.id)}
            assert not states & {"Crashed", "Failed", "Completed"}
            told = client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
            assert [artifact.type for artifact in told].count("markdown") == 1
        wait_until(lambda: not flow_processes(server), 120, "all processes of the run to end")
        assert verify(tmp_path / "store") == []
        done = int(Store(tmp_path / "store")[MODEL].embedded.sum())
        assert 0 < done < 6 * IMAGES
        with Ledger(tmp_path / "store") as ledger:
            (kept,) = ledger.runs.last()
        assert (kept["ended"], kept["models"][MODEL]["embedded"]) == ("cancelled", done)
        report = vectorize([str(photos)], config=configure(tmp_path, "inline"))
        assert report.embedded_twice == 0
        assert (report.models[MODEL].embedded, report.models[MODEL].pending) == (6 * IMAGES - done, 0)


@pytest.mark.system
def test_workers_outlive_a_restart_of_the_server(server: PrefectServer, photos: Path, tmp_path: Path) -> None:
    """A server that is killed in the middle and comes back finds run and workers going on; nothing is lost or done twice."""
    config = configure(tmp_path, "workers", ONE, TWO)

    def restart() -> None:
        process_that_did(server, tmp_path / "store", "one")
        server.kill()
        server.start()

    with server.worker("cpu"), server.used(), meanwhile(restart):
        report = vectorize([str(photos)], config=config)
    assert report.models[MODEL].pending == 0
    assert sum(did.images for did in report.workers.values()) == IMAGES
    assert not [warning for warning in report.warnings if "lost" in warning]
    with server.used():
        assert_as_inline(tmp_path / "store", photos)


def flow_processes(server: PrefectServer) -> list[Any]:
    return [pid for pid in server.processes() if "PREFECT__FLOW_RUN_ID" in environment(pid)]


def environment(pid: int) -> dict[str, str]:
    try:
        return psutil.Process(pid).environ()
    except psutil.Error:
        return {}


def test_workers_need_a_server(photos: Path, tmp_path: Path) -> None:
    """Without the address of a server nobody could start the workers: that is said before anything is done."""
    job = make_job(load_settings(Path(configure(tmp_path, "workers", ONE))), [str(photos)])
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(SettingsError, match="PREFECT_API_URL"):
        check_server(job)

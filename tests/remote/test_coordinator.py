"""The process of a run on a cluster: it imports no PyTorch, does not grow with the run, and outlives its cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.run.job import Job
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.remote.clusters import Dask
from tests.remote.conftest import IMAGES, stored
from tests.support.namespace import Namespace
from tests.support.prefect_server import wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
RUN = """
import sys
from pixelmill.run.direct import run_here
from pixelmill.run.job import Job
report = run_here(Job.model_validate_json(sys.stdin.read()))
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(report.models["one"].embedded, "torch" in sys.modules, peak)
"""
"""A run in a process of its own: the vectors made, whether PyTorch was imported, the most memory in KiB."""
MORE_KIB = 24_000
"""So much more memory ten times as many images may take: of 65,536 rows there are whole blocks at a time, and the master
of forty parts maps each into fifteen columns of facts."""


def coordinate(job: Job, env: dict[str, str]) -> tuple[int, str, int]:
    done = subprocess.run([sys.executable, "-c", RUN], env=env, input=job.model_dump_json(), stdout=-1, text=True)
    assert done.returncode == 0
    made, torch, peak = done.stdout.split()
    return int(made), torch, int(peak)


def tiny(folder: Path, images: int) -> None:
    """Pictures of many sizes in bytes, as pictures have: of one size, each shard would list all."""
    folder.mkdir()
    random = np.random.default_rng(images)
    for n in range(images):
        words = PngInfo()
        words.add_text("words", "x" * (n % 3000))
        picture = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        picture.save(folder / f"{n}.png", pnginfo=words)


def test_it_imports_no_pytorch_and_does_not_grow(job: Job, env: dict[str, str]) -> None:
    """A run over ten times as many images takes hardly more memory, neither of them PyTorch."""
    folder, peaks = job.store.parent, {}
    with Namespace(hidden=[job.store]) as there, Dask(folder, env) as dask:
        dask.worker("one", there)
        dask.wait(1)
        for images in (1_000, 10_000):
            tiny(folder / str(images), images)
            far = job.model_copy(update={
                "sources": (str(folder / str(images)),), "store": folder / f"store-{images}", "shard_size": 250,
                "batch_size": 64, "fan_out": "dask", "cluster": dask.address,
            })  # fmt: skip
            made, torch, peaks[images] = coordinate(far, env)
            assert (made, torch) == (images, "False")
    assert peaks[10_000] - peaks[1_000] < MORE_KIB, peaks


def configured(folder: Path, dask: Dask, **run: object) -> list[str]:
    """The command of a run on a cluster."""
    lines = [f"{name} = {value!r}" for name, value in {"fan_out": "dask", "cluster": dask.address, **run}.items()]
    (folder / "pixelmill.toml").write_text("\n".join(["[run]", f'store = "{folder}/store"', *lines]))
    return [sys.executable, "-m", "pixelmill", "run", str(folder / "photos"), "--config", f"{folder}/pixelmill.toml"]


def test_a_cluster_without_workers(job: Job, env: dict[str, str]) -> None:
    """The run fails soon after `worker_start_seconds`, and says what to do."""
    folder = job.store.parent
    with Dask(folder, env) as dask:
        command = configured(folder, dask, worker_start_seconds=3.0)
        begun = time.monotonic()
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "no process of the cluster has worked at a shard. Has it workers" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begun < 100


def test_a_scheduler_that_dies_in_the_middle(job: Job, env: dict[str, str]) -> None:
    """What was handed in is stored, and the run ends with a message."""
    folder = job.store.parent
    with Dask(folder, env) as dask, (folder / "run.log").open("wb") as log:
        dask.worker("one")
        command = configured(folder, dask, worker_start_seconds=20.0, shard_size=1)
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            wait_until(lambda: some_stored(job.store), 120, "a first commit", process)
            dask.head.kill()
            assert process.wait(200) == 1
        finally:
            process.kill()
    said = (folder / "run.log").read_text()
    assert "Traceback" not in said
    assert "What was embedded is stored; the next run does the rest" in said
    assert 0 < len(stored(job.store, "efficientnet_lite0")) < IMAGES
    assert verify(job.store) == []


def some_stored(folder: Path) -> bool:
    try:
        return len(Store(folder)) > 0
    except (StoreError, StoreDamaged):
        return False

"""A run that is stopped, or killed, keeps what it has embedded: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from tests.conftest import SavePicture
from tests.support.prefect_server import wait_until

MODEL, IMAGES, SHARD = "efficientnet_lite0", 600, 250
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def folder(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Pictures, and settings that leave all of them in few shards."""
    for seed in range(IMAGES):
        save_picture(tmp_path / f"photos/{seed:03}.jpg", seed, (640, 480))
    return tmp_path


def started(folder: Path, way: str, **run: object) -> subprocess.Popen[bytes]:
    lines = [
        f"{name} = {value!r}" for name, value in {"precision": "float32", "batch_size": 8, "threads": 1, **run}.items()
    ]
    (folder / "pixelmill.toml").write_text("\n".join(["[run]", *lines]))
    environment = {n: v for n, v in os.environ.items() if n != "PREFECT_API_URL"}
    return subprocess.Popen(
        [sys.executable, "-m", "pixelmill", "run", "photos", "--store", "store", "--config", "pixelmill.toml", "--json", way],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(folder: Path) -> int:
    try:
        return int(Store(folder / "store")[MODEL].embedded.sum())
    except (StoreError, KeyError):
        return 0


def assert_the_rest_is_done(folder: Path) -> None:
    """By the next run, and nothing else."""
    assert verify(folder / "store") == []
    before = done(folder)
    told, _ = started(folder, "--direct").communicate(timeout=600)
    report = json.loads(told)
    assert (report["models"][MODEL]["embedded"], report["models"][MODEL]["pending"]) == (IMAGES - before, 0)
    assert report["embedded_twice"] == 0


@pytest.mark.parametrize(("way", "fan_out"), [("--direct", "inline"), ("--prefect", "inline"), ("--direct", "dask")])
def test_a_run_that_is_stopped_finishes_its_batch_and_reports(folder: Path, way: str, fan_out: str) -> None:
    """SIGTERM in the middle of a shard: what is embedded of that one too, here or on a cluster, is stored, served and
    told of."""
    process = started(folder, way, shard_size=SHARD, fan_out=fan_out, cluster_size=1)
    wait_until(lambda: done(folder) >= SHARD, 300, "a shard", process)
    before = done(folder)
    time.sleep(0.5)
    process.terminate()
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert time.monotonic() - began < 40
    assert b"Asked to stop" in said
    assert b"Traceback" not in said
    assert before < done(folder) < IMAGES
    assert done(folder) % SHARD
    assert Store(folder / "store").models == [MODEL]
    with Ledger(folder / "store") as ledger:
        (kept,) = ledger.runs.last()
    assert (kept["ended"], kept["models"][MODEL]["embedded"]) == ("cancelled", done(folder))
    assert_the_rest_is_done(folder)


def test_a_run_that_is_killed_loses_what_it_has_made_since_its_last_commit(folder: Path) -> None:
    """No more than `commit_every` and a few batches of it, though its shard holds all pictures; its report tells of it."""
    process = started(folder, "--direct", commit_every="1s")
    wait_until(lambda: done(folder) > 0, 300, "a commit", process)
    first = done(folder)
    wait_until(lambda: done(folder) > first, 60, "a second commit", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert first < done(folder) < IMAGES
    told = subprocess.run(
        [sys.executable, "-m", "pixelmill", "report", "store", "--json"], cwd=folder, capture_output=True, check=True
    )
    report = json.loads(told.stdout)
    assert report["ended"] == "cut off"
    assert report["models"][MODEL]["embedded"] == done(folder)
    assert_the_rest_is_done(folder)

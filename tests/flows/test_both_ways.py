"""A run in this process and one by Prefect are the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.vectorize import vectorize
from pixelmill.report.model import RunReport
from pixelmill.run.direct import run_here
from pixelmill.store.ledger import Ledger
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from settings import load_settings
from settings.job import make_job
from tests.conftest import SavePicture
from tests.support.prefect_server import clean_environment

MODEL = "efficientnet_lite0"
UNLIKE = {
    "store",
    "started",
    "seconds",
    "steps",
    "images_per_second",
    "reading_seconds",
    "waited_reading",
    "waited_decoding",
    "bottleneck",
    "advice",
    "before",
}
"""What two runs of the same way do not have in common."""


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Five pictures, a copy, and one that is cut off."""
    folder = tmp_path / "photos"
    for seed in range(5):
        save_picture(folder / f"{'ab'[seed % 2]}/{seed}.png", seed)
    (folder / "copy.png").write_bytes((folder / "a/0.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


def alike(value: Any) -> Any:
    """A report without what two runs of the same way do not have in common."""
    if isinstance(value, dict):
        return {name: alike(one) for name, one in value.items() if name not in UNLIKE}
    return [alike(one) for one in value] if isinstance(value, list | tuple) else value


def told(report: RunReport) -> str:
    return json.dumps(alike(report.as_json())).replace(report.store, "STORE")


def here(photos: Path, store: str) -> RunReport:
    return run_here(make_job(load_settings(None, {"run": {"store": store, "precision": "float32"}}), [str(photos)]))


@pytest.mark.usefixtures("prefect_api")
def test_both_ways_give_the_same(photos: Path, save_picture: SavePicture) -> None:
    """The same rows, vectors, reports and history, over two nights; and each goes on with the other's."""
    runs = {
        "direct": lambda: here(photos, "direct"),
        "flow": lambda: vectorize([str(photos)], store="flow", precision="float32"),
    }
    nights = [{name: run() for name, run in runs.items()}]
    save_picture(photos / "new.png", 100)
    (photos / "b/1.png").rename(photos / "moved.png")
    nights.append({name: run() for name, run in runs.items()})
    for night in nights:
        assert told(night["direct"]) == told(night["flow"])
    stores = [Store(name) for name in runs]
    # Not to the bit: PyTorch sums in another order with another number of threads.
    np.testing.assert_allclose(*(store[MODEL].read() for store in stores), atol=1e-4)
    np.testing.assert_array_equal(*(store.paths for store in stores))
    assert [len(on_record(Path(name))) for name in runs] == [2, 2]
    assert here(photos, "flow").models[MODEL].embedded == 0
    assert vectorize([str(photos)], store="direct").models[MODEL].embedded == 0


def on_record(store: Path) -> list[dict[str, Any]]:
    with Ledger(store) as ledger:
        return ledger.runs.last()


@pytest.mark.slow
def test_two_runs_at_once_embed_each_picture_once(tmp_path: Path, save_picture: SavePicture) -> None:
    """One in its process and one by Prefect, over the same pictures and into the same store: whoever comes second has nothing
    left to do; if it had to wait, it says so."""
    for seed in range(60):
        save_picture(tmp_path / f"photos/{seed}.png", seed)
    Path("pixelmill.toml").write_text("[run]\nshard_size = 8\n")
    command = [
        sys.executable,
        "-m",
        "pixelmill",
        "run",
        "photos",
        "--store",
        "store",
        "--precision",
        "float32",
        "--json",
    ]
    environment = {**clean_environment(), "PREFECT_HOME": str(tmp_path / "prefect")}
    started = [
        subprocess.Popen([*command, way], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for way in ("--prefect", "--direct")
    ]
    with ThreadPoolExecutor() as reading:
        printed = list(reading.map(lambda process: process.communicate(timeout=240), started))
    assert [process.returncode for process in started] == [0, 0]
    reports = [json.loads(stdout) for stdout, _ in printed]
    assert sorted(report["models"][MODEL]["embedded"] for report in reports) == [0, 60]
    assert sum("waiting for another run on" in stderr for _, stderr in printed) <= 1
    assert all(report["models"][MODEL]["pending"] == 0 for report in reports)
    store = Store("store")
    assert len(store) == 60
    assert store[MODEL].embedded.all()
    assert sorted(map(os.fsdecode, store.paths)) == sorted(f"{seed}.png" for seed in range(60))
    assert list(verify(Path("store"))) == []
    assert len(on_record(Path("store"))) == 2

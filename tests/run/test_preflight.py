"""What a run looks at before it starts anything."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pixelmill.store.commit import StoreWriter
from tests.conftest import SavePicture

SCRIPT = """
import sys
from pixelmill.cli.main import main
try: main(sys.argv[1:])
except SystemExit as stop: print(stop.code, "prefect" in sys.modules)
"""


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> Path:
    return save_picture(tmp_path / "photos/0.png").parent


def newer_store(folder: Path) -> None:
    StoreWriter(folder).close()
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        ledger.execute("PRAGMA user_version = 1000")


def damaged_store(folder: Path) -> None:
    StoreWriter(folder).close()
    (folder / "vectors.h5").write_bytes(b"no HDF5")


def file_in_the_way(folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("run", 2, "Expected at least one SOURCE"),
        ("run nowhere", 2, "nowhere"),
        ("run @nowhere.txt", 2, "nowhere.txt"),
        ("run photos --models openai_clip_vit_b23", 2, "Did you mean 'openai_clip_vit_b32'"),
        ("run photos --deadline soon", 2, "deadline"),
        ("run photos --device cuda:99", 1, "This machine has"),
        ("run photos --models mine", 1, "gone.pth"),
        ("run photos --models resnet18", 1, "this run is offline"),
        ("run photos --store NEWER", 1, "pixelmill"),
        ("run photos --store DAMAGED", 1, "repair"),
        ("run photos --store TAKEN/store", 1, "no folder"),
    ],
)
def test_what_cannot_be_done_is_told_without_prefect(photos: Path, arguments: str, code: int, words: str) -> None:
    """Prefect, whose start takes seconds, is not even imported."""
    Path("pixelmill.toml").write_text(
        "[weights]\noffline = true\n"
        '[models.mine]\nbackend = "torchvision"\narchitecture = "resnet18"\ncheckpoint = "gone.pth"\n'
    )
    makes = {"NEWER": newer_store, "DAMAGED": damaged_store, "TAKEN": file_in_the_way}
    for name, make in makes.items():
        if name in arguments:
            make(Path(name))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments.split()], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [str(code), "False"], done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_is_not_there_is_not_made(photos: Path) -> None:
    """Where a run goes no further, there is nothing of it."""
    done = subprocess.run(
        [sys.executable, "-m", "pixelmill", "run", str(photos), "--store", "new"], capture_output=True, text=True,
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Expected a Prefect server at http://127.0.0.1:9/api" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("new").exists()

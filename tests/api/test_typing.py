"""A program that calls Pixelmill from Python is checked by `mypy --strict`, whichever modules it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import pixelmill
import pixelmill.run.steps
from pixelmill import run
from pixelmill.deliver.told import Checked, Delivered
from pixelmill.run.job import Job
from pixelmill.search.searcher import Hit
from pixelmill.store.reader import MatrixView

assert_type(pixelmill.run("photos"), pixelmill.RunReport)
assert_type(run([Path("a"), "b"], models=["x"], dry_run=True), pixelmill.DryRunReport)
assert_type(pixelmill.run("photos").images.new, int)

def told(quietly: bool) -> pixelmill.RunReport | pixelmill.DryRunReport:
    return pixelmill.run("photos", dry_run=quietly)

array = np.zeros((8, 8, 3), np.uint8)
assert_type(pixelmill.embed("a.jpg"), NDArray[np.float32])
pixelmill.embed(["a.jpg", Path("b.jpg"), b"", array, Image.open("c.jpg")], ["x", pixelmill.own_model(
    "mine", backend="open_clip", architecture="ViT-B-32", checkpoint=Path("mine.pt"))], errors="nan")
store = pixelmill.Store("s", device="cuda", config=Path("pixelmill.toml"))
assert_type(store["m"], MatrixView)
found = store.search(["red", ("blue", -1)], image=[array, ("a.jpg", 0.5)], row=np.array([1]), where="width > 1", k=3)
assert_type(found, pixelmill.SearchResults)
assert_type(found[0], Hit)
assert_type(found[:2], tuple[Hit, ...])
assert_type(pixelmill.deliver("s", "search"), Delivered)
assert_type(pixelmill.deliver(Path("s"), "search", to="parquet:out", models=["m"], check=True), Checked)
assert_type(store.rows_where("width > 1"), NDArray[np.int64])
"""
WRONG = {
    'pixelmill.run("photos", sotre="x")': 'Unexpected keyword argument "sotre" for overloaded function "run"',
    'pixelmill.run("photos", batch_size="8")': "call-overload",
    'pixelmill.deliver("s", "search", too="parquet:out")': 'Unexpected keyword argument "too"',
    'pixelmill.embed("a.jpg", precision="half")': "arg-type",
    'store.search(text=7)': "arg-type",
}  # fmt: skip


@pytest.mark.slow
def test_a_program_is_checked(tmp_path: Path) -> None:
    """What is right passes, with the types that are meant; each wrong line is an error, and no other is."""
    lines = [PROGRAM.strip("\n"), *WRONG]
    (tmp_path / "program.py").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--hide-error-context"]
    # An editable installation is found by a hook, which mypy does not follow (mypy.readthedocs.io, "Running mypy").
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run([*command, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    first = PROGRAM.strip("\n").count("\n") + 2
    errors = [line for line in done.stdout.splitlines() if line.startswith("program.py") and ": error: " in line]
    found = {int(line.split(":")[1]) - first for line in errors}
    assert found == set(range(len(WRONG))), done.stdout + done.stderr
    for number, words in enumerate(WRONG.values()):
        assert any(f":{first + number}: " in line and words in line for line in errors), done.stdout


def test_the_package_says_that_it_is_typed() -> None:
    """PEP 561: a checker takes its annotations."""
    assert (ROOT / "pixelmill" / "py.typed").exists()

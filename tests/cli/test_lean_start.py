"""What a command loads, which is what it takes to start: nothing that it can do without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SavePicture
from tests.support.prefect_server import clean_environment

LOADED = """
import json, sys
from pixelmill.cli.main import _exit_code, cli
from pixelmill.cli.ours import prefer_ours
prefer_ours()
code = _exit_code(lambda: cli.main(sys.argv[1:], standalone_mode=False))
print(json.dumps([code, sorted(sys.modules)]))
"""
PREFECT = {"prefect", "flows", "tasks", "sqlalchemy", "fastapi"}
MODELS = {"torch", "torchvision", "timm", "open_clip", "clip", "transformers", "pandas", "scipy", "pyarrow"}
STORES = {"numpy", "h5py", "PIL.Image", "rich"}


def loaded(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and the modules that it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], env={**clean_environment(), "PREFECT_HOME": "prefect"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> str:
    return str(save_picture(tmp_path / "photos/0.png").parent)


@pytest.mark.parametrize(
    "typo",
    [
        ("photos", "--models", "openai_clip_vit_b23"),
        ("photos", "--batch-sise", "8"),
        ("photoz",),
        ("photos", "--config", "typo.toml"),
        ("photos", "--config", "missing.toml"),
        ("photos", "--direct", "--prefect"),
    ],
    ids=" ".join,
)
def test_a_typo_is_told_before_anything_is_loaded(photos: str, typo: tuple[str, ...]) -> None:
    """Of a model, a flag, a path, a key of the settings: without NumPy, HDF5, models and Prefect."""
    Path("typo.toml").write_text("[run]\nbatch_sise = 8\n")
    code, modules = loaded("run", *typo)
    assert code == 2
    assert modules & (PREFECT | MODELS | STORES) == set()


def test_one_photo_and_then_nothing_to_do(photos: str) -> None:
    """A run loads what its model needs, neither Prefect nor PyTorch's compiler; one with nothing to do no model library
    at all."""
    code, modules = loaded("run", photos, "--store", "store", "--precision", "float32")
    assert code == 0
    assert "torch" in modules
    assert modules & (PREFECT | {"torch._dynamo", "torch._inductor", "sympy", "open_clip", "clip", "pandas"}) == set()
    code, modules = loaded("run", photos, "--store", "store", "--precision", "float32")
    assert code == 0
    assert "h5py" in modules
    assert modules & (PREFECT | MODELS) == set()

"""What docs/heads.md shows is true: its heads are filled over the pictures that are committed, and its search finds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file

from pixelmill.cli.main import cli
from pixelmill.heads.of_file import scorer_of
from pixelmill.run.steps import run
from pixelmill.store.reader import Store
from settings import load_settings
from settings.job import make_job

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/heads.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert found
    return found[1]


def test_the_heads_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most pictures get the scene of their folder, those by night are told from those by day, and the search of the
    page finds mountains alone."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    models = (ROOT / "examples/demo.toml").read_text().partition("[models")[2].replace("examples/", f"{ROOT}/examples/")
    Path("pixelmill.toml").write_text(
        f'[run]\nsources = ["{ROOT}/examples/images"]\nmodels = ["demo_clip"]\nstore = "STORE"\nprecision = "float32"\n'
        f"[models{models}\n{block('toml')}"
    )
    report = run(make_job(load_settings()))
    assert [(told.name, told.rows, told.notes) for told in report.heads] == [("scene", 32, ()), ("hour", 32, ())]
    store = Store("STORE")
    paths = [path.decode() for path in store.paths]
    scenes = dict(zip(paths, store.columns["scene"], strict=True))
    meant = {"mountains": "mountains", "sea": "the sea", "city": "a city", "flowers": "flowers", "tiles": "tiles"}
    right = [scenes[path] == meant[path.split("/")[0]] for path in paths if path.split("/")[0] in meant]
    assert sum(right) >= 15, scenes
    assert len(right) == 20
    hours = dict(zip(paths, store.columns["hour"], strict=True))
    assert [hours[name] for name in ("mountains/moonlight.jpg", "mountains/morning.jpg")] == ["night", "day"]
    assert set(store.columns["scene.score"] <= 1) == {True}

    condition = re.search(r'--where "(.*)"\n', block("console"))
    assert condition
    where = condition[1].replace('\\"', '"')
    done = CliRunner().invoke(cli, ["search", "STORE", "mountains at night", "--where", where, "--json"])
    assert done.exit_code == 0, done.output
    found = [one["path"] for one in json.loads(done.stdout)["results"]]
    assert found
    assert all(scenes[Path(path).parent.name + "/" + Path(path).name] == "mountains" for path in found)


def test_the_file_that_the_page_saves() -> None:
    """Is a head, with two labels."""
    exec(block("python"), {"layer": torch.nn.Linear(8, 2)})
    scorer = scorer_of(Path("beauty.safetensors"), Path("beauty.safetensors").read_bytes(), 8, normalize=True)
    assert scorer.labels == ("plain", "beautiful")


def test_the_smaller_vectors_of_the_page() -> None:
    """They are searched by words, evaluated beside those of their model, and taken by others as the page says."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    models = (ROOT / "examples/demo.toml").read_text().partition("[models")[2].replace("examples/", f"{ROOT}/examples/")
    toml = PAGE.partition("## Smaller vectors")[2].partition("```toml\n")[2].partition("```")[0]
    Path("pixelmill.toml").write_text(
        f'[run]\nsources = ["{ROOT}/examples/images"]\nmodels = ["demo_clip"]\nstore = "STORE"\nprecision = "float32"\n'
        f"[models{models}\n{toml}"
    )
    (told,) = run(make_job(load_settings())).heads
    assert (told.name, told.rows, told.problem) == ("small", 32, "")
    done = CliRunner().invoke(cli, ["search", "STORE", "mountains", "--model", "small", "--json", "-k", "5"])
    assert done.exit_code == 0, done.output
    assert sum("mountains" in one["path"] for one in json.loads(done.stdout)["results"]) >= 3
    done = CliRunner().invoke(cli, ["evaluate", "STORE", "--labels", "folder", "--models", "demo_clip,small", "--json"])
    assert done.exit_code == 0, done.output
    assert {"demo_clip", "small"} <= {one["name"] for one in json.loads(done.stdout)["scores"]}
    store = Store("STORE")
    tensors = load_file(next(Path("STORE/heads").glob("small.*.safetensors")))
    x = store["demo_clip"][3]
    mine = (x / np.linalg.norm(x) - tensors["mean"]) @ tensors["axes"].T
    np.testing.assert_allclose(store["small"][3], mine, atol=1e-6)

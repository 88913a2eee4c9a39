"""`pixelmill.run` is a run in this process, whatever was imported before, and never what somebody's folder says."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pixelmill
from pixelmill.errors import SettingsError, SourceError, UnknownModel
from pixelmill.models.base import ModelSpec
from tests.api.conftest import IMAGES
from tests.support.models import BlockMeans, spec_of


def python(code: str, folder: Path) -> str:
    """What a script prints that is run as people run theirs: a file without `if __name__`."""
    (folder / "script.py").write_text(code)
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_gives_its_report(photos: Path, model: ModelSpec) -> None:
    """What is new is embedded and stored; a second run makes no model call."""
    report = pixelmill.run(photos, models=model, store="store", precision="float32")
    assert (report.images.new, report.models["one"].embedded) == (IMAGES, IMAGES)
    assert len(pixelmill.Store("store")) == IMAGES
    seen = BlockMeans.seen
    again = pixelmill.run([str(photos), bytes(photos / "a")], models=[model], store=Path("store"))
    assert BlockMeans.seen == seen
    assert (again.images.new, again.images.seen) == (0, IMAGES)
    assert json.loads(json.dumps(again.as_json()))["models"]["one"]["embedded"] == 0


def test_a_report_is_worth_seeing(photos: Path, model: ModelSpec) -> None:
    """A line in a terminal, tables in a notebook, in which names of files are text."""
    (photos / "<b>.png").write_bytes(b"no picture")
    report = pixelmill.run(photos, models=model, store="store")
    assert repr(report).startswith(f"<RunReport store: {IMAGES + 1} new images. {IMAGES} vectors made in ")
    html = report._repr_html_()
    assert "<table>" in html
    assert "<b>.png" not in html
    assert "&lt;b&gt;.png" in html


def test_the_choice_of_frames_is_part_of_a_matrix(photos: Path, model: ModelSpec) -> None:
    """The picture in the middle makes a matrix of its own, with vectors of that picture; the default leaves no trace
    in what a store says of itself, as before there was a choice, so that older stores go on."""
    dark, bright = (Image.new("RGB", (64, 48), (level, 90, 200 - level)) for level in (10, 190))
    dark.save(photos / "animation.gif", save_all=True, append_images=[bright])
    pixelmill.run(photos, models=model, store="store", precision="float32")
    pixelmill.run(photos, models=model, store="store", precision="float32", frames="middle")
    first, middle = json.loads(Path("store", "manifest.json").read_text())["matrices"]
    assert "frames" not in first["provenance"]
    assert middle["provenance"]["frames"] == "middle"
    assert first["provenance"]["fingerprint"] != middle["provenance"]["fingerprint"]
    again = pixelmill.run(photos, models=model, store="store", precision="float32", frames="middle")
    assert again.models[model.name].embedded == 0
    file = photos / "animation.gif"
    assert not np.array_equal(pixelmill.embed(file, model, frames="middle"), pixelmill.embed(file, model))


def test_a_dry_run_writes_nothing(photos: Path, model: ModelSpec) -> None:
    """It says what a run would do."""
    told = pixelmill.run(photos, models=model, store="store", dry_run=True)
    assert told.models["one"].pending == IMAGES
    assert not Path("store").exists()
    assert f"{IMAGES} of {IMAGES} images" in repr(told)
    assert "<table>" in told._repr_html_()


def test_a_folders_settings_count_when_they_are_named(photos: Path, model: ModelSpec, own_resnet: str) -> None:
    """./pixelmill.toml is read where `config` names it, and not otherwise; an argument comes before it."""
    with pytest.raises(UnknownModel):
        pixelmill.run(photos, models=own_resnet, store="store")
    Path("pixelmill.toml").write_text(Path("pixelmill.toml").read_text() + '[run]\nstore = "theirs"\nbatch_size = 0\n')
    with pytest.raises(SettingsError, match="batch_size"):
        pixelmill.run(photos, models=model, config="pixelmill.toml")
    report = pixelmill.run(photos, models=own_resnet, config="pixelmill.toml", batch_size=2, precision="float32")
    assert (report.store, report.models[own_resnet].dim) == ("theirs", 512)


def test_an_own_model_is_made_in_python(photos: Path, own_resnet: str) -> None:
    """`own_model` is `[models.NAME]`: the same vectors, under the same name, in the same matrix."""
    pixelmill.run(photos, models=own_resnet, store="store", config="pixelmill.toml", precision="float32")
    own = pixelmill.own_model(own_resnet, backend="torchvision", architecture="resnet18", checkpoint=Path("own.pth"))
    again = pixelmill.run(photos, models=[own], store="store")
    assert again.models[own_resnet].embedded == 0
    vectors = pixelmill.embed(sorted(photos.rglob("*.png")), own)
    assert vectors == pytest.approx(pixelmill.Store("store")[own_resnet][:], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": ""}, "Expected a name for the model"),
        ({"name": "a/../b"}, "Expected a name for the model"),
        ({"name": "a\n"}, "Expected a name for the model"),
        ({"name": "a,b"}, "without commas"),
        ({"name": None}, "Got None"),
        ({"backend": "keras"}, "backend: Input should be 'openai_clip'"),
        ({"image_size": -5}, "image_size: .* Got -5"),
        ({"mean": (1.0,)}, "mean.1 is missing"),
        ({"std": (0.2, 0.0, 0.2)}, "std.1: Input should be greater than 0. Got 0.0"),
        ({"sha256": "abc"}, "sha256: .* Got 'abc'"),
        ({"architecture": "resnet"}, "Did you mean"),
    ],
)
def test_an_own_model_is_checked_like_that_of_a_settings_file(
    wrong: dict[str, Any], words: str, own_resnet: str
) -> None:
    """Before anything is embedded by it, in words that name what does not fit."""
    right = {"name": own_resnet, "backend": "torchvision", "architecture": "resnet18", "checkpoint": "own.pth"}
    with pytest.raises(SettingsError, match=words):
        pixelmill.own_model(**(right | wrong))
    assert pixelmill.own_model(**right, mean=[0.5, 0.5, 0.5]).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"sources": "nowhere"}, SourceError, "nowhere"),
        ({"sources": ()}, SettingsError, "at least one SOURCE"),
        ({"models": "efficientnet_lite"}, UnknownModel, "efficientnet_lite0"),
        ({"models": ["efficientnet_lite0"] * 2}, SettingsError, "each named once"),
        ({"device": "tpu"}, SettingsError, "Expected auto, cpu, gpu"),
        ({"deadline": "soon"}, SettingsError, "90m"),
        ({"config": "no.toml"}, SettingsError, "no.toml"),
    ],
)
def test_what_does_not_fit_is_told_in_words(
    arguments: dict[str, object], error: type[Exception], words: str, photos: Path
) -> None:
    """As the command tells it, as the error that a program can catch."""
    with pytest.raises(error, match=words) as raised:
        pixelmill.run(**{"sources": photos, "store": "store", **arguments})  # type: ignore[call-overload]
    assert isinstance(raised.value, pixelmill.PixelmillError)


def test_the_function_travels_and_explains_itself() -> None:
    """It can be pickled for another process, and `help` says what its arguments are."""
    assert pickle.loads(pickle.dumps(pixelmill.run)) is pixelmill.run
    told = inspect.getdoc(pixelmill.run)
    for argument in inspect.signature(pixelmill.run).parameters:
        assert argument in (told or "")
    with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'stroe'"):
        pixelmill.run("photos", stroe="x")  # type: ignore[call-overload]


ROOT = Path(__file__).parents[2]
HEAVY = "numpy h5py pydantic PIL torch duckdb pandas pyarrow prefect"


def test_importing_costs_nothing(tmp_path: Path) -> None:
    """NumPy and HDF5 are imported when something is asked for that needs them, PyTorch when a model is; and a function
    that was asked for before its package was imported is the one after."""
    code = f"""
import sys
import pixelmill
print([name for name in "{HEAVY}".split() if name in sys.modules])
print(dir(pixelmill) == sorted(pixelmill.__all__))
first = pixelmill.run
pixelmill.Store, pixelmill.embed
import inspect
print(*inspect.signature(first).parameters)
print([name for name in "{HEAVY}".split()[4:] if name in sys.modules])
import pixelmill.run.steps
print(pixelmill.run is first, pixelmill.run.steps.run.__name__)
"""
    told = python(code, tmp_path).splitlines()
    assert told[:2] == ["[]", "True"]
    assert told[2].startswith("sources models store device")
    assert told[3:] == ["[]", "True run"]


def test_a_plain_script_runs_once(photos: Path, model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that decode never import the script: it needs no `if __name__ == "__main__"`. That it imported a
    module of the package first makes no difference. Its own `settings.py`, as many a program has, stays its own,
    imported before Pixelmill's or after."""
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT))
    (photos.parent / "settings.py").write_text("THEIRS = True")
    code = """
import sys
from pathlib import Path
with open("begun", "a") as begun:
    begun.write("once")
from pixelmill.run.steps import Steps
import pixelmill
from tests.support.models import spec_of
model = spec_of("one", Path.cwd())
print(pixelmill.run("photos", store="store", models=model, precision="float32").images.new)
print(pixelmill.embed("photos/a/0.png", model).shape)
assert "settings" not in sys.modules
import settings
pixelmill.api.settings._imported.cache_clear()
print(pixelmill.run("photos", store="store", models=model, dry_run=True).images.seen)
print(settings.THEIRS, sys.modules["settings"] is settings)
"""
    told = python(code, photos.parent).splitlines()
    assert told == [f"{IMAGES}", "(1, 12)", f"{IMAGES}", "True True"]
    assert (photos.parent / "begun").read_text() == "once"


def test_runs_of_several_threads(photos: Path, model: ModelSpec, tmp_path: Path) -> None:
    """They may run at once, each into a store of its own, as notebooks and servers do."""
    specs = [model, spec_of("two", tmp_path)]
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda spec: pixelmill.run(photos, models=spec, store=tmp_path / spec.name), specs))
    assert [report.models[spec.name].embedded for report, spec in zip(made, specs, strict=True)] == [IMAGES, IMAGES]


@pytest.mark.slow
def test_ctrl_c_ends_a_run_at_once(photos: Path) -> None:
    """KeyboardInterrupt comes through, no process stays behind, and the next run does the rest."""
    code = """
import pixelmill, sys, time, threading, os, signal
from pixelmill.models import timm
real = timm.TimmModel.encode_image
def slow(self, pixels):
    print("embedding", flush=True)
    time.sleep(30)
    return real(self, pixels)
timm.TimmModel.encode_image = slow
try:
    pixelmill.run("photos", store="store", precision="float32")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    (photos.parent / "script.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=photos.parent, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == "embedding\n"
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert told == "interrupted\n"
    assert time.monotonic() - began < 25
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert pixelmill.run(photos, store="store", dry_run=True).models["efficientnet_lite0"].pending == IMAGES

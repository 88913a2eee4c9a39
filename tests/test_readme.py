"""The READMEs are true: each of their blocks is run, in both languages the same ones."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pixelmill.cli.main import cli
from tests.support.examples import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)
COMMANDS = [line.removeprefix("$ ") for kind, text in BLOCKS for line in text.splitlines() if kind == "console"]
OURS = {"~/Pictures": "examples/images", "openai_clip_vit_b32": "demo_clip"}
"""The demo's pictures and model, for the reader's photographs and for one that has to be downloaded."""
ELSEWHERE = {
    "git clone … && cd pixelmill": "there is no address yet",
    "make demo": "tests/test_install.py, and the recipe in tests/test_demo.py",
    "python deployments/set_up.py": "tests/deployments/test_set_up.py",
    "prefect": "tests/deployments",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the repository's `examples`, and the demo's settings."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELMILL_CONFIG", "examples/demo.toml")
    return tmp_path


def test_both_languages_have_the_same_blocks() -> None:
    """What is run of one is run of the other."""
    chinese = (ROOT / "README.zh-CN.md").read_text("utf-8")
    assert re.findall(r"^```(\w+)\n(.*?)^```", chinese, re.M | re.S) == BLOCKS


def test_the_python_blocks_run_one_after_the_other(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `make demo`, without its settings: the nearest of a picture of the sea is another one, and what the file
    says is told."""
    demo = ["run", "examples/images", "--models", "efficientnet_lite0,demo_clip", "--store", "demo-store"]
    assert CliRunner().invoke(cli, demo, catch_exceptions=False).exit_code == 0
    monkeypatch.delenv("PIXELMILL_CONFIG")
    names: dict[str, object] = {}
    for kind, code in BLOCKS:
        if kind == "python":
            exec(compile(code, "README.md", "exec"), names)
    assert next(hit.path.partition("/")[0] for hit in names["nearest"]) == "sea"  # type: ignore[attr-defined]
    assert "efficientnet_lite0 (32, 1280)" in capsys.readouterr().out


def test_the_photographers_commands_run(here: Path) -> None:
    """`run`, then `search`, which lists pictures; `serve`, which would not end, is only looked at."""
    done = []
    for command in COMMANDS:
        if not command.startswith("pixelmill "):
            assert any(command.startswith(start) for start in ELSEWHERE), command
            continue
        arguments = [OURS.get(word, word) for word in shlex.split(command)[1:]]
        served = arguments[0] == "serve"
        outcome = CliRunner().invoke(cli, [*arguments, "--help"] if served else arguments, catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        done.append((arguments[0], outcome.output))
    assert [name for name, _ in done] == ["run", "search", "search", "serve"]
    assert "32 new images" in done[0][1]
    assert "examples/images" in done[1][1]

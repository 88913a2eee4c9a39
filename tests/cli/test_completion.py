"""What shells are offered, asked through a real bash; and help that fits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pixelmill.cli.completion import SHELLS
from pixelmill.cli.main import cli
from tests.support.commands import code

BASH = shutil.which("bash")
ASK = """
eval "$(pixelmill completion bash)"
compopt() { echo "the shell's own: $2"; }
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_pixelmill_completion pixelmill
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def here(some_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with stores at three depths, a folder without one, and a model of one's own."""
    for name in ("photos/store", "deep/er/store", "plain/folder"):
        (tmp_path / name).parent.mkdir(parents=True)
    shutil.copytree(some_store, tmp_path / "store")
    shutil.copytree(some_store, tmp_path / "photos/store")
    shutil.copytree(some_store, tmp_path / "deep/er/store")
    for name in ("two words", "it's", "a$b", "par(en)"):
        shutil.copytree(some_store, tmp_path / name)
    (tmp_path / "pixelmill.toml").write_text('[models.my_clip]\nbackend = "open_clip"\n')
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "pixelmill"
    command.write_text(f"#!{sys.executable}\nfrom pixelmill.cli.main import main\nmain()\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(*words: str) -> list[str]:
    """What bash has after these words and a press of Tab."""
    done = subprocess.run(
        [str(BASH), "-c", ASK, "bash", "pixelmill", *words], capture_output=True, text=True, timeout=60
    )
    assert not done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_bash_offers_what_fits(here: Path) -> None:
    """Commands, options, folders with a store, models of the settings and the catalog, also behind a comma."""
    assert offered("se") == ["search", "serve"]
    assert offered("search", "store", "--mo") == ["--model"]
    assert offered("search", "st") == ["store"]
    assert offered("serve", "~/photos/") == ["~/photos/store"]
    assert offered("info", "") == ["photos/store", "store"]
    assert offered("run", "x", "--store", "deep/") == ["deep/er/store"]
    assert offered("run", "x", "--models", "my") == ["my_clip"]
    assert offered("run", "x", "--models", "=", "my") == ["my_clip"], "as bash takes --models=my apart"
    assert offered("pull", "resnet18,my_clip,efficientnet_l") == ["resnet18,my_clip,efficientnet_lite0"]
    assert offered("run", "--models", "resnet18,resnet1") == [f"resnet18,resnet1{n}" for n in ("01", "52")]


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_the_rest_is_left_to_bash(here: Path) -> None:
    """Files of sources and queries, folders where no store is, and names that it has to quote."""
    assert offered("run", "pho") == ["the shell's own: default", ""]
    assert offered("search", "store", "cat") == ["the shell's own: default", ""]
    for typed in ("plain/", "two", "it", "a", "par"):
        assert offered("info", typed) == ["the shell's own: dirnames", ""]


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_models_of_a_store_are_offered(here: Path) -> None:
    """Those that it serves, and its ensembles; nothing of a manifest that is none."""
    served = {"serving": True, "provenance": {"model": "here"}}
    filling = {"serving": False, "provenance": {"model": "later"}}
    told = {"matrices": [served, filling], "ensembles": [{"name": "both"}]}
    (here / "store/manifest.json").write_text(json.dumps(told))
    assert offered("search", "store", "--model", "here,") == ["here,both"]
    assert offered("export", "store", "out.npy", "--models", "") == ["both", "here"]
    for none in ("[]", "no json", '{"matrices": 3}'):
        (here / "store/manifest.json").write_text(none)
        assert offered("export", "store", "out.npy", "--models", "") == [""]


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_deliveries_of_the_settings_are_offered(here: Path) -> None:
    """Each once; nothing of settings that are none."""
    told = "".join(f'[[deliveries]]\nname = "{name}"\n' for name in ("search", "shop", "other"))
    (here / "pixelmill.toml").write_text(told)
    assert offered("deliver", "s") == ["search", "shop"]
    assert offered("deliver", "search", "s") == ["shop"]
    for none in ("deliveries = 3", "[[deliveries]]\nname = 3", "[deliveries", "deliveries = [3]"):
        (here / "pixelmill.toml").write_text(none)
        assert offered("deliver", "") == [""]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_its_part(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In its own words, for this command."""
    assert code("completion", shell) == 0
    told = capfd.readouterr().out
    assert f"_PIXELMILL_COMPLETE={shell}_complete" in told
    if found := shutil.which(shell):
        assert subprocess.run([found, "-n"], input=told, text=True, capture_output=True).stderr == ""


def test_asking_loads_nothing_heavy(here: Path) -> None:
    """A shell waits for it: no NumPy, no HDF5, no settings."""
    program = (
        "import os, sys\nsys.argv = ['pixelmill']\nfrom pixelmill.cli.main import main\n"
        "for words in ('search store --model ', 'run --models res', 'info '):\n"
        "    os.environ |= {'COMP_WORDS': 'pixelmill ' + words, 'COMP_CWORD': str(len(words.split(' ')))}\n"
        "    try: main()\n    except SystemExit: pass\n"
        "print([name for name in ('numpy', 'h5py', 'pydantic', 'torch', 'settings', 'rich') if name in sys.modules])"
    )
    variables = {**os.environ, "_PIXELMILL_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60)
    assert "plain,resnet18" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    return {name: command for name in cli.list_commands(context) if (command := cli.get_command(context, name))}


def test_every_command_is_in_a_group_and_every_option_in_one() -> None:
    """The help of `pixelmill` shows each command once; that of a command with groups shows each option once."""
    help_of = cli.get_help(click.Context(cli, info_name="pixelmill"))
    for name, command in commands().items():
        assert help_of.count(f"\n  {name} ") == 1
        shown = command.get_help(click.Context(command, info_name=name)).splitlines()
        for option in (param for param in command.params if isinstance(param, click.Option)):
            assert sum(line.startswith(f"  {option.opts[0]} ") or line == f"  {option.opts[0]}" for line in shown) == 1


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_help_fits_any_terminal(width: int) -> None:
    """No word is lost on a narrow one, and none is cut off."""
    for name, command in {"pixelmill": cli, **commands()}.items():
        wide = command.get_help(click.Context(command, info_name=name, terminal_width=300, max_content_width=300))
        narrow = command.get_help(click.Context(command, info_name=name, terminal_width=width, max_content_width=width))
        assert "".join(narrow.split()) == "".join(wide.split())

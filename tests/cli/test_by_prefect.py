"""A run is a flow of Prefect where Prefect's settings name a server, and where it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pixelmill.cli.by_prefect import may_name_server
from tests.conftest import SavePicture
from tests.support.commands import code
from tests.support.prefect_server import clean_environment

SERVER = "http://127.0.0.1:9/api"
URL = f'PREFECT_API_URL = "{SERVER}"\n'
OTHER = '[profiles.other]\nPREFECT_LOGGING_LEVEL = "INFO"\n'
NAMED = f"[profiles.named]\n{URL}"


@dataclass(frozen=True)
class Situation:
    """What a run is started with: variables, and files below its working directory, whose `home` is the user's."""

    title: str
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    asked: bool | None = None
    """Whether Prefect is asked; None: only where it names a server."""


ACTIVE = f'active = "named"\n{NAMED}{OTHER}'
SITUATIONS = [
    Situation("nothing"),
    Situation("variable", {"PREFECT_API_URL": SERVER}),
    Situation("variable in small letters", {"prefect_api_url": SERVER}),
    Situation("empty variable", {"PREFECT_API_URL": ""}, asked=True),
    Situation("empty variable before a profile", {"PREFECT_API_URL": ""}, {"home/.prefect/profiles.toml": ACTIVE}, asked=True),
    Situation("other variables", {"PREFECT_HOME": "elsewhere", "PREFECT_LOGGING_LEVEL": "INFO"}),
    Situation(".env", files={".env": f"export prefect_api_url={SERVER}\n"}),
    Situation(".env of others", files={".env": "API_URL=http://127.0.0.1/api\n"}),
    Situation(".env with profiles", files={".env": "PREFECT_PROFILES_PATH=mine.toml", "mine.toml": ACTIVE}),
    Situation("prefect.toml", files={"prefect.toml": f'[api]\nurl = "{SERVER}"\n'}),
    Situation("prefect.toml, dotted", files={"prefect.toml": f'api.url = "{SERVER}"\n'}),
    Situation("prefect.toml with profiles", files={"prefect.toml": 'profiles_path = "mine.toml"', "mine.toml": ACTIVE}),
    Situation("prefect.toml without", files={"prefect.toml": '[logging]\nlevel = "INFO"\n'}),
    Situation("prefect.toml, a key alone", files={"prefect.toml": '[api]\nkey = "secret"\n'}, asked=True),
    Situation("pyproject.toml", files={"pyproject.toml": f'[tool.prefect.api]\nurl = "{SERVER}"\n'}),
    Situation("pyproject.toml of others", files={"pyproject.toml": f'[project]\ndependencies = ["prefect"]\n[api]\nurl="{SERVER}"'}),
    Situation("active profile", files={"home/.prefect/profiles.toml": ACTIVE}),
    Situation("another profile", files={"home/.prefect/profiles.toml": f'active = "other"\n{NAMED}{OTHER}'}),
    Situation("no profile active", files={"home/.prefect/profiles.toml": NAMED}),
    Situation("unknown profile active", files={"home/.prefect/profiles.toml": f'active = "gone"\n{NAMED}'}),
    Situation("PREFECT_PROFILE", {"PREFECT_PROFILE": "named"}, {"home/.prefect/profiles.toml": f'active = "other"\n{NAMED}{OTHER}'}),
    Situation("PREFECT_PROFILE, another", {"PREFECT_PROFILE": "other"}, {"home/.prefect/profiles.toml": ACTIVE}),
    Situation("PREFECT_HOME", {"PREFECT_HOME": "elsewhere"}, {"elsewhere/profiles.toml": ACTIVE}),
    Situation("PREFECT_HOME, another", {"PREFECT_HOME": "elsewhere"}, {"home/.prefect/profiles.toml": ACTIVE}),
    Situation("PREFECT_PROFILES_PATH", {"PREFECT_PROFILES_PATH": "mine.toml"}, {"mine.toml": ACTIVE}),
    Situation("PREFECT_PROFILES_PATH, another", {"PREFECT_PROFILES_PATH": "mine.toml"}, {"home/.prefect/profiles.toml": ACTIVE}),
    Situation("profiles that are no TOML", files={"home/.prefect/profiles.toml": URL + "["}, asked=True),
    Situation("a local profile of Prefect's own", {"PREFECT_PROFILE": "local"}),
]  # fmt: skip
TRUTH = """
import json, os, pathlib, sys, warnings
warnings.simplefilter("ignore")
import prefect.context
from prefect.settings import get_current_settings, sources
for folder, variables in json.load(sys.stdin):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sources._file_cache.clear()
    sources.DEFAULT_PREFECT_HOME = pathlib.Path.home() / ".prefect"  # which it takes when it is imported
    try:
        prefect.context.refresh_global_settings_context()
        print(bool(get_current_settings().api.url))
    except Exception as error:
        print(type(error).__name__)
"""


def arranged(situation: Situation, folder: Path) -> tuple[str, dict[str, str]]:
    """Its working directory and environment."""
    (folder / "home").mkdir(parents=True)
    for name, text in situation.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return str(folder), {**clean_environment(), "HOME": str(folder / "home"), **situation.variables}


def test_prefects_own_word_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever Prefect says that its settings name a server, it is asked; where it is not asked, none is named."""
    places = [arranged(situation, tmp_path / str(number)) for number, situation in enumerate(SITUATIONS)]
    done = subprocess.run(
        [sys.executable, "-c", TRUTH], input=json.dumps(places), capture_output=True, text=True, check=True
    )
    told = done.stdout.split()
    assert {"True", "False"} <= set(told)
    for situation, (folder, variables), said in zip(SITUATIONS, places, told, strict=True):
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", variables["HOME"])
        expected = said == "True" if situation.asked is None else situation.asked
        assert said != "True" or expected
        assert may_name_server(variables) == expected, f"{situation.title}: Prefect says {said}"


@pytest.mark.slow
def test_what_prefect_config_set_writes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Prefect's own command, in the profile in use."""
    folder, variables = arranged(Situation("fresh"), tmp_path / "fresh")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", variables["HOME"])
    for name, value, named in (("PREFECT_LOGGING_LEVEL", "INFO", False), ("PREFECT_API_URL", SERVER, True)):
        set_it = [sys.executable, "-m", "prefect", "config", "set", f"{name}={value}"]
        subprocess.run(set_it, env=variables, check=True, capture_output=True)
        assert may_name_server(variables) is named


def test_files_that_nobody_can_read_are_for_prefect_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """No TOML, no UTF-8, no tables: it is asked, and says what is wrong."""
    for text in (b"[", b"\xff", b"tool = 1", b'tool = {prefect = "a"}'):
        Path("pyproject.toml").write_bytes(text)
        assert may_name_server({"PREFECT_HOME": "nowhere"})


@pytest.fixture
def photos(tmp_path: Path, save_picture: SavePicture) -> str:
    return str(save_picture(tmp_path / "photos/0.png").parent)


def test_both_ways_at_once_are_wrong_usage(photos: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, in words."""
    assert code("run", photos, "--prefect", "--direct") == 2
    assert "Expected --prefect, --direct or neither" in capfd.readouterr().err


def test_direct_does_no_other_processs_work(
    photos: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are started by Prefect: exit code 2, and what to do; no store is made."""
    Path("pixelmill.toml").write_text('[[workers]]\nname = "a"\n')
    monkeypatch.setenv("PIXELMILL_RUN__FAN_OUT", "workers")
    assert code("run", photos, "--direct", "--store", "store") == 2
    assert 'Got "workers", which Prefect starts' in capfd.readouterr().err
    assert not os.path.lexists("store/vectors.h5")


@pytest.mark.parametrize(
    ("flags", "variables", "way"),
    [
        ((), {}, "direct"),
        ((), {"PREFECT_API_URL": SERVER}, "prefect"),
        (("--direct",), {"PREFECT_API_URL": SERVER}, "direct"),
        (("--prefect",), {}, "prefect"),
        ((), {"PIXELMILL_RUN__FAN_OUT": "dask"}, "direct"),
        ((), {"PIXELMILL_RUN__FAN_OUT": "workers"}, "prefect"),
        (("--dry-run", "--prefect"), {}, "none"),
    ],
)
def test_who_runs(
    photos: str, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], variables: Mapping[str, str], way: str
) -> None:
    """This process, unless a server is named, Prefect's workers are to do it, or a flag says so."""
    Path("pixelmill.toml").write_text('[[workers]]\nname = "a"\n')
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", "prefect")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    went = []
    monkeypatch.setattr("pixelmill.run.direct.run_here", lambda _job: went.append("direct") or sys.exit(0))
    monkeypatch.setattr("pixelmill.cli.run._by_prefect", lambda *_, **__: went.append("prefect") or sys.exit(0))
    monkeypatch.setattr("pixelmill.cli.by_prefect.load_quietly", lambda: os.environ.get("PREFECT_API_URL"))
    assert code("run", photos, "--store", "store", *flags) == 0
    assert went == ([] if way == "none" else [way])

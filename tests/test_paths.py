"""Paths of settings, variables, flags and arguments: `~` is a home folder, an address is no path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmill.cli.main import main
from pixelmill.errors import SettingsError
from pixelmill.paths import local_path, local_source
from settings import load_settings
from settings.job import make_job

ADDRESSES = ("s3://bucket/store", "gs://bucket/store", "hdfs://host/store", "file:///store", "s3:/bucket/store")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def test_a_home_folder_in_every_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources, lists, the store, caches, mirrors and checkpoints."""
    Path("pixelmill.toml").write_text(
        '[run]\nsources = ["~/pics", "@~/list.txt", "s3://bucket/pics"]\nstore = "~/store"\n'
        '[web]\ncache_dir = "~/thumbnails"\n[weights]\ncache_dir = "~/weights"\nmirrors = "~/bundle"\n'
        '[models.mine]\nbackend = "torchvision"\narchitecture = "resnet18"\ncheckpoint = "~/mine.pth"\n'
    )
    settings = load_settings()
    assert make_job(settings).sources == (f"{home}/pics", f"@{home}/list.txt", "s3://bucket/pics")
    assert settings.run.store == home / "store"
    assert settings.web.cache_dir == home / "thumbnails"
    assert settings.weights.cache_dir == home / "weights"
    assert settings.weights.mirrors == {"*": f"{home}/bundle"}
    assert settings.models["mine"].checkpoint == f"{home}/mine.pth"
    monkeypatch.setenv("PIXELMILL_RUN__STORE", "~/other")
    assert load_settings().run.store == home / "other"
    (home / "named.toml").write_text("[run]\nbatch_size = 7\n")
    monkeypatch.setenv("PIXELMILL_CONFIG", "~/named.toml")
    assert load_settings().run.batch_size == 7
    assert load_settings(Path("~/named.toml")).run.batch_size == 7


def test_a_home_folder_behind_a_variable_of_caches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME as some write it into a file of variables."""
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert load_settings().weights.cache_dir == home / "caches/pixelmill/weights"


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "command",
    [
        "run x --store STORE", "info STORE", "report STORE", "quarantine STORE", "verify STORE", "compact STORE",
        "repair STORE", "export STORE out.h5 --models a", "search STORE --row 1", "ensemble STORE name --models a",
        "serve STORE", "export x STORE/out.h5 --models a", "weights bundle resnet18 -o STORE",
        "search x --row 1 --sheet STORE/out.html", "models --config STORE",
    ],
)  # fmt: skip
def test_an_address_is_no_folder_here(command: str, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command that takes a store, or writes something, says so, with exit code 2; nothing is made."""
    before = set(Path().rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(command.replace("STORE", address).split())
    assert stop.value.code == 2
    assert "Expected a path on this machine" in capsys.readouterr().err
    assert set(Path().rglob("*")) == before


@pytest.mark.parametrize(
    "text",
    [
        '[run]\nstore = "s3://bucket/store"', '[run]\nstore = ""', '[weights]\ncache_dir = "gs://bucket/weights"',
        '[web]\ncache_dir = "s3://bucket/t"', '[weights]\nmirrors = "s3://bucket/m"', '[run]\nstore = "~nobodyhere/s"',
        '[run]\nstore = "a\\u0000b"',
        '[models.m]\nbackend = "timm"\narchitecture = "resnet18"\ncheckpoint = "s3://bucket/w.pth"',
    ],
)  # fmt: skip
def test_settings_that_name_no_place_here_are_refused(text: str) -> None:
    """In words that name the setting and what it holds."""
    Path("pixelmill.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"(store|cache_dir|mirrors|checkpoint): Expected a (path|home folder)"):
        load_settings()


def test_what_exists_is_what_it_is_called(home: Path) -> None:
    """A file whose name begins with a tilde, as a shell's pattern gives it; a drive's letter is no address."""
    Path("~lock.jpg").touch()
    assert local_source("~lock.jpg") == "~lock.jpg"
    assert local_path("./~x") == Path("~x")
    assert local_path("C:/store") == Path("C:/store")

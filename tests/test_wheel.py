"""The wheel: built as a release is, installed where nothing of the checkout is to be seen, and used there."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from pixelmill.version import VERSION
from tests.support.prefect_server import PrefectServer, clean_environment, stop

ROOT = Path(__file__).parents[1]
SOURCES = ("pixelmill", "flows", "tasks", "settings", "tests", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md")
OTHERS = ("CHANGELOG.md", "LICENSE", "constraints.txt")
Installed = Any


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The archive of sources of a copy of this checkout, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "checkout"
    copy.mkdir()
    for name in (*SOURCES, *OTHERS):
        path = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, copy / name, ignore=ignored) if path.is_dir() else shutil.copy(path, copy)
    source = _built(copy, "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    return source, _built(folder / source.name.removesuffix(".tar.gz"), "wheel")


def _built(checkout: Path, what: str) -> Path:
    out = checkout / "dist"
    out.mkdir()
    program = f"from setuptools import build_meta; print(); print(build_meta.build_{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=True)
    return out / done.stdout.splitlines()[-1]


class Bare:
    """An environment with the wheel, and with the packages that it needs, but without the checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.bin = folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        found = importlib.util.find_spec("torch")
        assert found
        assert found.origin
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "needed.pth").write_text(f"{Path(found.origin).parents[1]}\n")
        pip = [sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--quiet", "--no-index"]
        subprocess.run([*pip, "--no-deps", "--ignore-installed", wheel], check=True)
        self.environment = clean_environment()
        self.environment.pop("PYTHONPATH", None)

    def run(self, *command: str, cwd: Path) -> str:
        """What a command of it prints. Raises AssertionError when it fails."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]], cwd=cwd, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def bare(dist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Bare:
    return Bare(tmp_path_factory.mktemp("bare"), dist[1])


@pytest.mark.slow
def test_the_wheel_holds_what_is_needed_and_nothing_else(dist: tuple[Path, Path]) -> None:
    """All files that git has of the four packages, below `pixelmill/`; neither has tests or names a place of a machine."""
    listed = subprocess.run(["git", "ls-files", *SOURCES[:4]], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {re.sub("^(?=flows|tasks|settings)", "pixelmill/_beside/", name) for name in listed.stdout.splitlines()}
    with zipfile.ZipFile(dist[1]) as wheel, tarfile.open(dist[0]) as source:
        names = set(wheel.namelist())
        assert {name for name in names if ".dist-info/" not in name} == wanted
        assert wheel.read(f"pixelmill-{VERSION}.dist-info/top_level.txt") == b"pixelmill\n"
        assert not [name for name in [*names, *source.getnames()] if "tests" in name.split("/")]
        texts = [wheel.read(name) for name in names if not name.endswith((".webp", ".png"))]
        assert not [text for text in texts if str(ROOT).encode() + b"/" in text]


@pytest.mark.slow
def test_names_of_others_are_left_to_them(bare: Bare, tmp_path: Path) -> None:
    """`settings`, `tasks` and `flows` are nobody's, before and after `import pixelmill`, until somebody has his own."""
    look = "import importlib.util as u, pixelmill; print([n for n in ('settings', 'tasks', 'flows') if u.find_spec(n)])"
    assert bare.run("python", "-c", look, cwd=tmp_path) == "[]\n"
    (tmp_path / "settings.py").write_text("mine = True\n")
    photo = str(ROOT / "examples/images/city/midnight.webp")
    program = f"import pixelmill; print(len(pixelmill.embed({photo!r}, 'efficientnet_lite0').shape))\n"
    (tmp_path / "program.py").write_text(program + "import settings; print(settings.mine)\n")
    assert bare.run("python", "program.py", cwd=tmp_path).split()[-1] == "True"
    assert '"models"' in bare.run("pixelmill", "models", "--json", cwd=tmp_path)


@pytest.mark.slow
def test_python_runs_beside_somebodys_settings(bare: Bare, tmp_path: Path) -> None:
    """`pixelmill.run`, `embed` and `search` need no name of theirs: a program keeps its `settings.py`."""
    (tmp_path / "settings.py").write_text("mine = True\n")
    photos = str(ROOT / "examples/images/city")
    (tmp_path / "program.py").write_text(
        f"import pixelmill\nreport = pixelmill.run({photos!r}, store='s')\nimport settings\n"
        f"found = pixelmill.Store('s').search(image={photos + '/towers.jpg'!r}, where='width > 1')\n"
        "print(report.images.new > 0, found[0].path, pixelmill.embed(found.paths).shape[1], settings.mine)\n"
    )
    assert bare.run("python", "program.py", cwd=tmp_path) == "True towers.jpg 1280 True\n"


@pytest.mark.slow
def test_the_command_runs_and_serves(bare: Bare, tmp_path: Path) -> None:
    """In an empty folder: help, version, a run, its store in the gallery with page, script and pictures."""
    assert VERSION == "1.0.0"
    assert bare.run("pixelmill", "--version", cwd=tmp_path) == f"pixelmill, version {VERSION}\n"
    assert "serve" in bare.run("pixelmill", "--help", cwd=tmp_path)
    photos = str(ROOT / "examples/images/city")
    said = json.loads(bare.run("pixelmill", "run", photos, "--store", "s", "--json", cwd=tmp_path))
    assert said["models"]["efficientnet_lite0"]["embedded"] == said["images"]["new"] > 0
    command = [bare.bin / "pixelmill", "serve", "s", "--port", "0"]
    serving = subprocess.Popen(command, cwd=tmp_path, env=bare.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout
        address = re.search(r"http://\S+", serving.stdout.readline())[0]  # type: ignore[index]
        page = httpx.get(address).text
        (script,) = re.findall(r'src="([^"]+\.js)"', page)
        assert httpx.get(httpx.URL(address).join(script)).is_success
        assert httpx.get(f"{address}/api/store").json()["rows"] == said["images"]["new"]
    finally:
        serving.send_signal(signal.SIGINT)
        serving.wait(30)


@pytest.mark.system
def test_its_flows_can_be_deployed(bare: Bare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the file that docs/install.md shows; a worker of Prefect's, in a folder with a `settings.py`, runs them."""
    page = (ROOT / "docs/install.md").read_text("utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prefect.yaml").write_text(shown)
    (tmp_path / "settings.py").write_text("raise SystemExit('not mine')\n")
    prefect = ("python", "-m", "prefect", "--no-prompt")
    with PrefectServer(tmp_path / "prefect") as server:
        monkeypatch.setattr(bare, "environment", bare.environment | server.env)
        bare.run(*prefect, "work-pool", "create", "cpu", "--type", "process", cwd=tmp_path)
        bare.run(*prefect, "deploy", "--all", cwd=tmp_path)
        command = [bare.bin / "python", *prefect[1:], "worker", "start", "--pool", "cpu"]
        worker = subprocess.Popen(command, cwd=tmp_path, env=bare.environment)
        given = json.dumps({"sources": [str(ROOT / "examples/images/city")], "store": "s"})
        try:
            bare.run(*prefect, "deployment", "run", "vectorize/nightly", "--params", given, "--watch", cwd=tmp_path)
        finally:
            stop(worker)
    assert "efficientnet_lite0" in bare.run("pixelmill", "info", "s", cwd=tmp_path)


@pytest.mark.system
@pytest.mark.parametrize("fan_out", ["dask", "ray"])
def test_a_cluster_of_this_machine_finds_its_tasks(bare: Bare, tmp_path: Path, fan_out: str) -> None:
    """Processes that Dask or Ray start unpickle functions of `tasks`, which is on nobody's path."""
    pytest.importorskip("distributed" if fan_out == "dask" else "ray")
    (tmp_path / "pixelmill.toml").write_text(f'[run]\nfan_out = "{fan_out}"\ncluster_size = 1\n')
    said = bare.run("pixelmill", "run", str(ROOT / "examples/images/city"), "--store", "s", cwd=tmp_path)
    assert "4 new images. 4 vectors made" in said


def test_the_checkout_keeps_its_packages_beside_pixelmill() -> None:
    """There the files are Prefect's entrypoints, and importable by their short names."""
    from pixelmill import beside

    assert beside.ROOT == ROOT
    found = importlib.util.find_spec("settings")
    assert found
    assert Path(found.origin or "").samefile(ROOT / "settings/__init__.py")

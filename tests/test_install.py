"""`install.py`: uv is told what pip is told, and an installation that was interrupted is begun anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import install

FILE = """\
[global]
index-url = https://name:p%40ss@mirror.invalid/simple
trusted-host =
    mirror.invalid
    other.invalid:8443
timeout = 60
[install]
extra-index-url = https://second.invalid/simple
    file:///srv/simple
find-links = /srv/wheels
    /srv/more
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a pip with no settings but those of FILE is told."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text(FILE)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_CERT", "/etc/ssl/own.pem")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "7.5")
    monkeypatch.setattr(install, "PYTHON", Path(sys.executable))
    return install.told_to_pip()


def test_uv_looks_where_pip_is_told_to(told: dict[str, str]) -> None:
    """A file's sections and PIP_… variables, as pip itself lists them; of several indexes the best version counts."""
    wanted = {
        "UV_DEFAULT_INDEX": "https://name:p%40ss@mirror.invalid/simple",
        "UV_INDEX": "https://second.invalid/simple file:///srv/simple",
        "UV_FIND_LINKS": "/srv/wheels,/srv/more",
        "UV_INSECURE_HOST": "mirror.invalid other.invalid:8443",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/etc/ssl/own.pem",
        "UV_SYSTEM_CERTS": "true",
        "PATH": "/bin",
    }
    found = install.uv_variables({"PATH": "/bin"}, told)
    assert {name: found[name] for name in wanted} == wanted


def test_what_uv_is_told_comes_first(told: dict[str, str]) -> None:
    """Who names an index to uv, by whichever of its variables, gets no other beside it."""
    given = {"UV_INDEX_URL": "https://uv.invalid/simple", "SSL_CERT_FILE": "/etc/ssl/given.pem"}
    found = install.uv_variables(given, told)
    assert {name for name in found if "INDEX" in name or "LINKS" in name} == {"UV_INDEX_URL"}
    assert found["SSL_CERT_FILE"] == "/etc/ssl/given.pem"
    assert found["UV_INSECURE_HOST"] == "mirror.invalid other.invalid:8443"


@pytest.mark.parametrize(
    ("option", "value", "variable", "as_uv"),
    [
        ("timeout", "7.5", "UV_HTTP_TIMEOUT", "8"),
        ("proxy", "proxy.invalid:3128", "ALL_PROXY", "http://proxy.invalid:3128"),
        ("proxy", "socks5://proxy.invalid", "ALL_PROXY", "socks5://proxy.invalid"),
        ("keyring-provider", "auto", "UV_KEYRING_PROVIDER", "disabled"),
    ],
)
def test_a_value_is_written_as_uv_reads_it(option: str, value: str, variable: str, as_uv: str) -> None:
    """Whole seconds, a proxy with its scheme, the two keyrings that uv knows."""
    assert install.uv_variables({}, {option: value})[variable] == as_uv


def test_no_index_is_no_index() -> None:
    """As pip spells it; uv has a flag for it, and no variable."""
    assert install.uv_options({"no-index": "Yes"}) == ["--no-index"]
    assert install.uv_options({"no-index": "false"}) == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with install.py and pins that nothing can meet, so that an installation fails without asking anybody."""
    for name in ("install.py", "pyproject.toml"):
        shutil.copy(install.ROOT / name, tmp_path)
    (tmp_path / "constraints.txt").write_text("uv==0\n")
    return tmp_path


def called(checkout: Path) -> subprocess.CompletedProcess[str]:
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run([sys.executable, "install.py"], cwd=checkout, env=offline, capture_output=True, text=True)


@pytest.mark.slow
def test_what_failed_is_begun_anew(checkout: Path) -> None:
    """What a broken installation has left in `.venv` is not in the next one; the failure has a code, and no traceback."""
    first = called(checkout)
    assert first.returncode
    assert "uv" in first.stderr
    assert "Traceback" not in first.stderr
    half = checkout / ".venv/lib/half-a-package"
    half.touch()
    assert called(checkout).returncode
    assert (checkout / ".venv/.unfinished").exists()
    assert not half.exists()
    assert not list((checkout / ".venv").glob(".installed*"))


@pytest.mark.slow
def test_somebodys_environment_is_not_taken_away(checkout: Path) -> None:
    """A `.venv` that is of another Python, or that somebody made, is left as it is; the former is told."""
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (venv / "mine").touch()
    config = venv / "pyvenv.cfg"
    config.write_text(config.read_text().replace("version = 3.", "version = 2."))
    done = called(checkout)
    assert done.returncode
    assert "make clean" in done.stderr
    assert (venv / "mine").exists()

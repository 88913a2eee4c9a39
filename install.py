"""Set up `.venv` by uv, or build the wheel by it: what the Makefile calls, by nothing but Python's own library.

    python3 install.py                    the runtime: what `pixelmill` needs
    python3 install.py --extra all dev    with extras of pyproject.toml
    python3 install.py --wheel            dist/pixelmill-….whl, and the archive of sources that it is built from

uv looks for packages where pip is told to, by PIP_… variables, pip.conf or PIP_CONFIG_FILE. uv's own variables
come first. torch is the build for this machine (UV_TORCH_BACKEND names another; empty: the one of the package index).
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - it is the older ones that come here; Python 3.6 can read up to this line
    sys.exit(
        f"Expected Python 3.11 or newer. Got {sys.version.split()[0]}, {sys.executable}. "
        "Name another: make PYTHON=python3.12 demo"
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON, UV = VENV / "bin/python", VENV / "bin/uv"
UNFINISHED = VENV / ".unfinished"
"""There while something is installed. Who finds it begins anew: half a package looks like a whole one."""
RUNTIME, WHOLE = VENV / ".installed-runtime", VENV / ".installed"
"""Touched when that is up to date. The Makefile compares them with what they are made from."""
PINS = ROOT / "constraints.txt"
BACKEND = "UV_TORCH_BACKEND"
Command = Sequence["str | Path"]
_PINNED: Command = ("--python", PYTHON, "--constraint", PINS)
IN_HASTE = {"UV_HTTP_RETRIES": "1", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "15"}


def main() -> None:
    """Exits with the code of what failed, which has said why."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--extra", nargs="*", default=[], metavar="NAME", help="extras of pyproject.toml")
    parser.add_argument("--wheel", action="store_true", help="build dist/pixelmill-….whl")
    options = parser.parse_args()
    try:
        make_environment()
        if options.wheel:
            build_wheel()
        else:
            install(options.extra)
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def make_environment() -> None:
    """A virtual environment of this Python, with uv as it is pinned."""
    if UNFINISHED.exists():
        shutil.rmtree(VENV)
    if PYTHON.exists():
        _check_same_python()
    with _unfinished():
        if not PYTHON.exists():
            _run([getattr(sys, "_base_executable", sys.executable), "-m", "venv", VENV])
        _run([PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--constraint", PINS, "uv"])


def install(extras: list[str]) -> None:
    """Pixelmill, to be edited in its place, and all that it needs, in the versions that the tests passed with."""
    package = f".[{','.join(extras)}]" if extras else "."
    with _unfinished():
        for stamp in (RUNTIME, WHOLE):
            stamp.unlink(missing_ok=True)
        _install_for_this_machine([*_PINNED, "--build-constraint", PINS, "--editable", package])
    for stamp in (RUNTIME, WHOLE) if {"all", "dev"} <= set(extras) else (RUNTIME,):
        stamp.touch()


def build_wheel() -> None:
    told = told_to_pip()
    where: Command = ["--python", PYTHON, "--build-constraint", PINS, "--out-dir", "dist", *uv_options(told)]
    _run([UV, "build", *_quiet(), *where], uv_variables(os.environ, told))
    print(*sorted(f"dist/{path.name}" for path in (ROOT / "dist").glob("pixelmill-*")), sep="\n")


def told_to_pip() -> dict[str, str]:
    """What pip is told by its files and variables, of which the latter count."""
    asked: Command = [PYTHON, "-m", "pip", "config", "list"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)  # noqa: S603
    lines = [line.partition("=") for line in done.stdout.splitlines()]
    found = {key: str(ast.literal_eval(value)) for key, _, value in lines if value}
    sections = ("global.", "install.", ":env:.")
    return {key.removeprefix(s): found[key] for s in sections for key in found if key.startswith(s)}


def _between(separator: str) -> Callable[[str], str]:
    return lambda value: separator.join(value.split())


_FOR_UV: dict[str, tuple[str, Callable[[str], str]]] = {
    "index-url": ("UV_DEFAULT_INDEX", str.strip),
    "extra-index-url": ("UV_INDEX", _between(" ")),
    "find-links": ("UV_FIND_LINKS", _between(",")),
    "trusted-host": ("UV_INSECURE_HOST", _between(" ")),
    "keyring-provider": ("UV_KEYRING_PROVIDER", lambda value: "subprocess" if value == "subprocess" else "disabled"),
    "default-timeout": ("UV_HTTP_TIMEOUT", lambda value: f"{float(value):.0f}"),
    "timeout": ("UV_HTTP_TIMEOUT", lambda value: f"{float(value):.0f}"),
    "cert": ("SSL_CERT_FILE", str.strip),
    "client-cert": ("SSL_CLIENT_CERT", str.strip),
    "proxy": ("ALL_PROXY", lambda value: value if "://" in value else f"http://{value}"),
}
"""Options of pip, and how uv takes them."""
_INDEXES = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"}


def uv_variables(given: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: as given, and where nothing is said there, what pip is told."""
    handed = {name: as_uv(told[option]) for option, (name, as_uv) in _FOR_UV.items() if option in told}
    if _INDEXES & given.keys():
        handed = {name: value for name, value in handed.items() if name not in _INDEXES}
    elif "UV_INDEX" in handed:
        handed["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # of all indexes the best version, as pip does
    return {"UV_SYSTEM_CERTS": "true", **handed, **given}


def uv_options(told: Mapping[str, str]) -> list[str]:
    """What uv knows no variable for."""
    return ["--no-index"] if told.get("no-index", "").lower() in ("1", "true", "t", "yes", "y", "on") else []


def _install_for_this_machine(asked: Command) -> None:
    """With torch for this machine where that can be had, else with the one of the package index."""
    told = told_to_pip()
    variables, options = uv_variables(os.environ, told), uv_options(told)
    command: Command = [UV, "pip", "install", *_quiet(), *options, *asked]
    backend = variables.pop(BACKEND, "" if options else "auto")
    reason = _why_no_torch(backend, variables) if backend else ""
    if backend and not reason:
        try:
            return _run([*command, "--torch-backend", backend], variables)
        except subprocess.CalledProcessError:
            reason = "see above"
    if reason:
        print(
            f"No torch for this machine alone ({reason}): taking the package index's, which may bring 2.5 GB of CUDA."
        )
    _run(command, variables)


def _why_no_torch(backend: str, variables: dict[str, str]) -> str:
    """Asked in haste, before anything is fetched. Empty: there is one, in the version that is pinned."""
    asked: Command = [UV, "pip", "compile", "-", "--no-deps", *_PINNED, "--torch-backend", backend]
    done = subprocess.run(  # noqa: S603
        asked, input="torch\ntorchvision\n", env={**variables, **IN_HASTE}, capture_output=True, text=True, cwd=ROOT
    )
    if not done.returncode:
        return ""
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("hint:")]
    return re.sub(r"^\W*(?:(?:error|cause): )?", "", said[-1]) if said else "uv failed"


def _check_same_python() -> None:
    there = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", (VENV / "pyvenv.cfg").read_text(), re.MULTILINE)
    here = "{}.{}".format(*sys.version_info)
    if there and there[1] != here:
        sys.exit(
            f"Expected .venv to be of Python {here}, by which this was called. It is of {there[1]}. "
            f"Name that one, as in make PYTHON=python{there[1]} demo, or take .venv away: make clean"
        )


@contextmanager
def _unfinished() -> Iterator[None]:
    """What fails or is killed in the block leaves its mark."""
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    yield
    UNFINISHED.unlink()


def _quiet() -> list[str]:
    """Bars for who looks, nothing for a log."""
    return [] if sys.stderr.isatty() else ["--quiet"]


def _run(command: Command, variables: dict[str, str] | None = None) -> None:
    subprocess.run(command, env=variables, cwd=ROOT, check=True)  # noqa: S603


if __name__ == "__main__":
    main()

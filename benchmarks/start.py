"""How long until a command answers: a typo, nothing to do, one photo, the demo's folder; directly, by Prefect, peers.

    python -m benchmarks.start [--turns 3] [--peers FOLDER]

Every command is a process of its own; printed are the seconds that passed and the CPU seconds of it and all that it
started, the best of the turns. Pixelmill's weights (efficientnet_lite0) come with its installation. `rclip` and
`dinotool` are installed into environments of their own in FOLDER, which use the PyTorch of this one, unless they are
there from last time; what one cannot do here, mostly for want of its weights, which come from hubs, is said.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from venv import EnvBuilder

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "images"
LONG = 600.0
"""Seconds after which a command is given up."""


@dataclass(frozen=True)
class Spent:
    """Seconds that passed and CPU seconds of a command; why it could not be tried, if so."""

    wall: float
    cpu: float
    failed: str = ""

    def __str__(self) -> str:
        return self.failed or f"{self.wall:6.2f} s passed, {self.cpu:6.2f} s of CPU"


@dataclass(frozen=True)
class Way:
    """A program, and what it is asked in each situation: arguments from the folder of photographs and an empty one."""

    command: tuple[str, ...]
    typo: tuple[str, ...]
    run: Callable[[Path, Path], Sequence[str]]
    again: bool = True
    """Whether it knows what it has done, so that there may be nothing to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="where rclip and dinotool are, or are installed to")
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the beginning", flush=True)
    with tempfile.TemporaryDirectory(prefix="pixelmill-start-") as name:
        one = Path(name) / "one"
        one.mkdir()
        shutil.copy(sorted(DEMO.rglob("*.jpg"))[0], one)
        for title, way in {**ours(), **peers(given.peers)}.items():
            for situation, spent in measured(way, Path(name), one, given.turns):
                print(f"{title:<24} {situation:<18} {spent}", flush=True)


def measured(way: Way | str, scratch: Path, one: Path, turns: int) -> list[tuple[str, Spent]]:
    """What each situation takes; each turn of one that does something is in a new folder."""
    if isinstance(way, str):
        return [("", Spent(0.0, 0.0, way))]
    found: dict[str, list[Spent]] = {}
    for _ in range(turns):
        found.setdefault("typo", []).append(spent_by([*way.command, *way.typo], scratch, fails=True))
        for title, photos in (("one photo", one), ("demo's folder", DEMO)):
            with tempfile.TemporaryDirectory(dir=scratch) as name:
                fresh = Path(name)
                command = [*way.command, *way.run(photos, fresh)]
                found.setdefault(title, []).append(spent_by(command, fresh))
                if photos == DEMO and way.again:
                    found.setdefault("nothing to do", []).append(spent_by(command, fresh))
    return [(title, best(tries)) for title, tries in found.items()]


def best(tries: Sequence[Spent]) -> Spent:
    return min(tries, key=lambda spent: (bool(spent.failed), spent.wall))


def spent_by(command: Sequence[str], folder: Path, *, fails: bool = False) -> Spent:
    """What a command takes that is started in a folder, which is also its home."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PIXELMILL_"))}
    environment |= {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "PYTHONPATH": str(ROOT)}
    before, start = cpu(), time.perf_counter()
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONG)
    except subprocess.TimeoutExpired:
        return Spent(0.0, 0.0, f"not done in {LONG:.0f} s")
    wall = time.perf_counter() - start
    if bool(done.returncode) != fails:
        return Spent(0.0, 0.0, f"could not be tried: {(done.stderr.strip() or 'no word').splitlines()[-1][:100]}")
    return Spent(wall, cpu() - before)


def cpu() -> float:
    """CPU seconds of all processes that this one has started and seen end, and of those that these have."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours() -> dict[str, Way]:
    command = (sys.executable, "-m", "pixelmill", "run", "--models")
    typo = ("openai_clip_vit_b23", "photos")

    def run(way: str) -> Callable[[Path, Path], Sequence[str]]:
        return lambda photos, fresh: ("efficientnet_lite0", str(photos), "--store", str(fresh / "store"), way)

    return {
        "pixelmill": Way(command, typo, run("--direct")),
        "pixelmill --prefect": Way(command, typo, run("--prefect")),
    }


def peers(folder: Path | None) -> dict[str, Way | str]:
    """Each peer, or why it is not there."""
    if folder is None:
        return {"rclip, dinotool": "left out: --peers FOLDER names where they are, or may be installed to"}
    ways: dict[str, Way] = {
        "rclip": Way((installed(folder, "rclip"),), ("--no-such-flag", "x"), _rclip),
        "dinotool": Way((installed(folder, "dinotool"),), ("--no-such-flag", "x"), _dinotool, again=False),
    }
    return {name: way if Path(way.command[0]).exists() else "could not be installed" for name, way in ways.items()}


def installed(folder: Path, name: str) -> str:
    """The program, in an environment of its own that finds there what is installed in this one."""
    place = folder.absolute() / name
    program = place / "bin" / name
    if not program.exists():
        EnvBuilder(with_pip=True).create(place)
        own = place / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        (own / "shared.pth").write_text("\n".join(place for place in sys.path if place.endswith("site-packages")))
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-qqq", name])
    return str(program)


def _rclip(photos: Path, fresh: Path) -> Sequence[str]:
    """It indexes the folder that it is started in, then searches."""
    shutil.copytree(photos, fresh, dirs_exist_ok=True)
    return ("-f", "a photo")


def _dinotool(photos: Path, fresh: Path) -> Sequence[str]:
    """One vector a picture (`frame`), and no pictures of them."""
    sized = ("--input-size", "224", "224", "--batch-size", "8")
    return (str(photos), "--output", str(fresh / "out"), "--save-features", "frame", "--no-vis", *sized)


if __name__ == "__main__":
    main()

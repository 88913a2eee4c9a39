"""A run over one picture, and which files of the library it passes: `python -m tests.support.traced_run FOLDER`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

from pixelmill import catalog
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "examples" / "images" / "city" / "river.jpg"
TRACER = """
import os, sys, threading
trace = os.open({trace!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(frame, event, _):
    code, caller = frame.f_code, frame.f_back
    imported = caller is not None and caller.f_code.co_name == "<module>"
    if event == "call" and code.co_flags & 1 and not imported and code.co_filename.startswith({library!r}):
        os.write(trace, os.fsencode(code.co_filename[{start}:]) + b"\\n")

threading.setprofile(note)
sys.setprofile(note)
"""
"""What every process of the run does first: it notes the file of each function that is called, in whichever thread, but
for bodies of classes (co_flags) and what modules call when they are imported."""


def passed(folder: Path) -> list[str]:
    """The files of `pixelmill/` that a run of the default model over one picture calls functions of, in order, each as
    often as it comes to it."""
    trace = folder / "trace"
    (folder / "sitecustomize.py").write_text(
        TRACER.format(trace=str(trace), library=f"{ROOT}/pixelmill/", start=len(f"{ROOT}/"))
    )
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.support.traced_run", str(folder)]
    subprocess.run(command, check=True, timeout=240, env=environment, cwd=folder)
    return [file for file, _ in groupby(trace.read_text().splitlines())]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "photos").mkdir()
    shutil.copy(PICTURE, place / "photos")
    spec, cache = catalog.get("efficientnet_lite0"), CacheSpec(cache_dir=place / "cache")
    run(Job(sources=(str(place / "photos"),), store=place / "store", specs=(spec,), cache=cache, precision="float32"))

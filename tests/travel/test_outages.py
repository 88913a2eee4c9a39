"""A hand-over place beyond a network that goes away: what is handed over arrives when it is back, and once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.namespace import Namespace
from tests.support.prefect_server import ROOT
from tests.support.s3 import S3

pytestmark = pytest.mark.system
WORK = """
import sys, time
from pixelmill.travel.handover import handover_at
place = handover_at("s3://outages/here")
place.put("1/orders", b"x")
for line in sys.stdin:
    began = time.monotonic()
    try:
        place.put(line.strip(), bytes(10**6))
        print("put", len(place.get(line.strip())), list(place.names("1")), round(time.monotonic() - began), flush=True)
    except Exception as error:
        print(type(error).__name__, error, round(time.monotonic() - began), flush=True)
"""


@pytest.fixture
def worker(s3_process: S3) -> Iterator[tuple[Namespace, subprocess.Popen[str]]]:
    """A program on another machine, which hands over what it is told to by a line, and says how that went."""
    server = {**os.environ, **s3_process.environment, "PYTHONPATH": str(ROOT)}
    make = 'from pixelmill.sources.fsspec import filesystem_files as f; f("s3://outages")._fs.makedirs("outages", exist_ok=True)'
    subprocess.run([sys.executable, "-c", make], env=server, check=True)
    with Namespace(ports=[s3_process.port]) as there:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        command = there.command(sys.executable, "-c", WORK)
        with subprocess.Popen(command, env=server, **pipes) as process:  # type: ignore[call-overload]
            try:
                yield there, process
            finally:
                process.kill()


def told(process: subprocess.Popen[str], name: str = "") -> str:
    """What it says next, perhaps of something that it is told to hand over."""
    assert process.stdin
    assert process.stdout
    if name:
        process.stdin.write(f"{name}\n")
    return process.stdout.readline()


def test_a_cut_that_is_mended(worker: tuple[Namespace, subprocess.Popen[str]]) -> None:
    """Packets vanish for 25 seconds while it is put: it is there afterwards, whole, and nothing was told."""
    there, process = worker
    assert told(process, "1/a").startswith("put 1000000 ['1/a', '1/orders']")
    there.cut()
    assert process.stdin
    process.stdin.write("1/b\n")
    time.sleep(25)
    there.mend()
    assert told(process).startswith("put 1000000 ['1/a', '1/b', '1/orders']")


def test_a_cut_that_stays(worker: tuple[Namespace, subprocess.Popen[str]]) -> None:
    """It ends with an error in words, after two minutes."""
    there, process = worker
    told(process, "1/a")
    there.cut()
    said = told(process, "1/b")
    assert said.startswith("HandoverUnreachable Expected to hand over 1/b at s3://outages/here. ")
    assert "[run] handover" in said
    assert int(said.split()[-1]) < 180

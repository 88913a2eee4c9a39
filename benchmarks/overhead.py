"""What Prefect costs: the same run in one process without it, and through flows on a running server, in turns. And
what it costs to store the pieces of a shard as they come (`commit_every`): the same run with one shard of all pictures,
stored each second, and once.

    python -m benchmarks.overhead [--images 1500] [--turns 2] [--shard 128] [--pieces]

Each run is a process of its own over the same pictures (rendered, 500 x 375 JPEG) with efficientnet_lite0 in float32,
into a new store. Printed: seconds and peak memory of each, and their ratio; with --pieces of those with pieces alone.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from pixelmill.bench import render

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = """
import resource, sys, time
start = time.perf_counter()
from pathlib import Path
from settings import load_settings
from settings.job import make_job
from pixelmill.run.direct import run_here
report = run_here(make_job(load_settings(Path(sys.argv[1]))))
"""
FLOW = """
import resource, sys, time
start = time.perf_counter()
from flows.vectorize import vectorize
report = vectorize(config=sys.argv[1])
"""
END = """
import json
embedded = report.models["efficientnet_lite0"].embedded
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak, "embedded": embedded}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--shard", type=int, default=128)
    parser.add_argument("--pieces", action="store_true")
    given = parser.parse_args()
    if given.pieces:
        compare_pieces(given.images, given.turns)
    else:
        compare_flow(given.images, given.turns, given.shard)


@contextmanager
def pictures(images: int) -> Iterator[Path]:
    """A folder for the runs, with so many pictures in `photos`."""
    with tempfile.TemporaryDirectory(prefix="pixelmill-overhead-") as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        render(folder / "photos", images)
        yield folder


def compare_flow(images: int, turns: int, shard: int) -> None:
    with pictures(images) as folder:
        took: dict[str, list[dict[str, float]]] = {"library": [], "flow": []}
        with server(folder / "prefect") as environment:
            for turn in range(turns):
                for kind, code in (("library", LIBRARY), ("flow", FLOW)):
                    found = measured(folder, f"{kind}-{turn}", code, environment, shard)
                    assert found["embedded"] == images
                    took[kind].append(found)
                    print(f"{kind:<8}{found['seconds']:8.1f} s  {found['peak_mb']:7.0f} MB", flush=True)
    seconds = {kind: min(run["seconds"] for run in runs) for kind, runs in took.items()}
    more = seconds["flow"] - seconds["library"]
    shards = -(-images // shard)
    print(f"{shards} shards; flow / library {seconds['flow'] / seconds['library']:.3f}: {more:.1f} s more")
    print(f"of a five-minute run {more / 300:.1%}, if it has {shards} shards as well")


def compare_pieces(images: int, turns: int) -> None:
    with pictures(images) as folder:
        seconds: dict[str, list[float]] = {"1h": [], "1s": []}
        for turn in range(turns):
            for often, took in seconds.items():
                found = measured(folder, f"{often}-{turn}", LIBRARY, dict(os.environ), images, often)
                assert found["embedded"] == images
                took.append(found["seconds"])
                print(f"every {often}{found['seconds']:8.1f} s", flush=True)
    once, pieces = min(seconds["1h"]), min(seconds["1s"])
    commit = (pieces - once) / pieces  # seconds more for each of its seconds, after each of which it commits
    print(f"each second / once {pieces / once:.3f}: {commit:.3f} s a commit, or {commit / 120:.2%} of two minutes")


def measured(
    folder: Path, name: str, code: str, environment: dict[str, str], shard: int, commit_every: str = "2m"
) -> dict[str, float]:
    """One run in a process of its own."""
    config = folder / f"{name}.toml"
    lines = [f'sources = ["{folder}/photos"]', f'store = "{folder}/{name}"', f"shard_size = {shard}"]
    lines += [f'commit_every = "{commit_every}"', 'precision = "float32"']
    config.write_text("\n".join(["[run]", *lines]))
    done = subprocess.run(
        [sys.executable, "-c", code + END, str(config)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server; the environment of its clients."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(240):
                time.sleep(0.5)
                try:
                    if httpx.get(f"{environment['PREFECT_API_URL']}/health").is_success:
                        break
                except httpx.TransportError:
                    continue
            else:
                raise TimeoutError("Expected the Prefect server to answer within two minutes.")
            yield environment
        finally:
            process.terminate()


if __name__ == "__main__":
    main()

"""What it costs to have others embed: what travels, the run's own time for each shard, and one process against none.

    python -m benchmarks.fanout [--images 768] [--turns 9] [--shard 128]
    python -m benchmarks.fanout --rows 1000000 [--processes 4] [--shard 4096] [--folder FOLDER]

The first embeds the same rendered pictures (500 x 375 JPEG, efficientnet_lite0 in float32) in the run's own process and
in one process of a Dask cluster, in turns. The second lets several Dask processes embed very many tiny pictures (8 x 8,
in tar archives) with a network of next to no size: do the commits keep up? Each run is a process of its own, that of
`pixelmill run`, with clocks at what the run does itself. docs/performance.md has the figures.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.scale import Memory

if TYPE_CHECKING:
    from pixelmill.travel.messages import Message

ROOT = Path(__file__).resolve().parent.parent
PER_TAR = 50_000
SIDE, INPUT = 8, 32
OURS = ("order", "write", "read", "take")
"""What a run does itself for each shard: its order made, and written as a message; the answer read, and stored."""
Took = dict[str, Any]


class Given(argparse.Namespace):
    """The command line."""

    images: int
    turns: int
    shard: int
    rows: int
    processes: int
    quick: bool
    again: bool
    folder: Path
    run: Path


class Clocks:
    """What a run does itself, by name: calls, seconds, CPU seconds of the thread, bytes."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.bytes: Counter[str] = Counter()
        self.memory = Memory()
        self.began = self.ended = self.own = 0.0
        """When the first order was made, and the last answer stored; the memory of its own that the run held first."""
        self.longest = 0.0
        """The most seconds that a shard took to be stored."""
        self.shards: list[float] = []
        """Seconds that whoever embedded was at a shard."""

    def around(self, name: str, owner: Any, method: str, note: Callable[[Any, Any], None] = lambda *_: None) -> None:
        """Take the time of a method from here on; `note` gets what was given to it, and what came."""
        inner = getattr(owner, method)

        @wraps(inner)
        def timed(*given: Any, **more: Any) -> Any:
            start, cpu = time.perf_counter(), time.thread_time()
            if name == "order" and not self.began:
                self.began, self.own = start, self.memory.own / 1024
            try:
                came = inner(*given, **more)
            finally:
                seconds = time.perf_counter() - start
                self.calls[name] += 1
                self.seconds[name] += seconds
                self.cpu[name] += time.thread_time() - cpu
            if name == "take":
                self.ended, self.longest = start + seconds, max(self.longest, seconds)
            note(given, came)
            return came

        setattr(owner, method, timed)

    def weighed(self, name: str) -> Callable[[Any, Any], None]:
        """Note the bytes of a message that came."""

        def note(_: Any, came: bytes | None) -> None:
            self.bytes[name] += len(came or b"")

        return note

    def answered(self, given: Any, answer: Message) -> None:
        """Note the bytes of an answer that was read, by part."""
        parts = {name: array.nbytes for name, array in answer.arrays.items()}
        for name, size in parts.items():
            self.bytes[f"answers: {name.split()[0]}"] += size
        self.bytes["answers: names, sizes, report"] += len(given[0]) - sum(parts.values())

    def worked(self, given: Any, _: None) -> None:
        """Note how long a shard took whoever embedded it."""
        intake, answer = given
        self.shards.append(answer.report.seconds * intake._orders.job.parallel)


def set_clocks() -> Clocks:
    """Clocks at what a run does itself, whoever embeds."""
    from pixelmill.run import answer, intake
    from pixelmill.run.answer import ShardAnswer
    from pixelmill.run.orders import RunOrders
    from pixelmill.run.shard_orders import ShardOrders
    from pixelmill.store.commit import StoreWriter
    from pixelmill.travel.shard_order import ShardOrder

    clocks = Clocks()
    clocks.around("look up", ShardOrders, "__init__")
    clocks.around("orders", RunOrders, "message", clocks.weighed("orders of the run"))
    clocks.around("prefixes", intake.Intake, "prefixes", clocks.weighed("prefixes"))
    clocks.around("order", intake.Intake, "order")
    clocks.around("write", ShardOrder, "message", clocks.weighed("orders of shards"))
    clocks.around("open", answer, "decode", clocks.answered)
    clocks.around("read", ShardAnswer, "of")
    clocks.around("take", intake.Intake, "take", clocks.worked)
    clocks.around("commit", StoreWriter, "commit")
    clocks.around("compact", intake, "compact_if_needed")
    return clocks


def embed(settings: Path) -> Took:
    """A run in this process, as `pixelmill run` carries it out."""
    from pixelmill.run.direct import run_here
    from settings import load_settings
    from settings.job import make_job

    clocks = set_clocks()
    clocks.memory.start()
    start, cpu = time.perf_counter(), time.process_time()
    report = run_here(make_job(load_settings(settings)))
    return {
        "embedded": sum(model.embedded for model in report.models.values()),
        "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu,
        "own_mb": clocks.memory.stop(), "own_first": clocks.own,
        "work": clocks.ended - clocks.began, "start": clocks.began - start, "longest": clocks.longest,
        "calls": clocks.calls, "each": clocks.seconds, "each_cpu": clocks.cpu, "bytes": clocks.bytes,
        "shards": clocks.shards,
    }  # fmt: skip


def run(folder: Path, name: str, quick: bool = False, **options: object) -> Took:
    """A run in a process of its own, into a store of that name."""
    settings = folder / f"{name}.toml"
    options = {"store": str(folder / name), "precision": "float32", **options}
    lines = ["[run]", *(f"{key} = {json.dumps(value)}" for key, value in options.items())]
    settings.write_text("\n".join([*lines, *map(tiny, ("tiny", "second"))]).replace("FOLDER", str(folder)))
    command = [sys.executable, "-m", "benchmarks.fanout", "--run", str(settings)]
    threads = str(max(len(os.sched_getaffinity(0)) // int(str(options.get("cluster_size", 1))), 1))
    environment = (
        {"OMP_NUM_THREADS": threads, "MALLOC_ARENA_MAX": "1"}  # as `pixelmill run` and local clusters have them
        | os.environ
        | ({"DASK_DISTRIBUTED__WORKER__PRELOAD": '["benchmarks.fanout"]'} if quick else {})
    )
    told = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout
    took: Took = json.loads(told.splitlines()[-1])
    (folder / f"{name}.json").write_text(json.dumps(took))
    return took


def tiny(name: str) -> str:
    """The settings of a network of next to no size."""
    lines = [
        'backend = "timm"',
        'architecture = "test_vit"',
        f"image_size = {INPUT}",
        f'checkpoint = "FOLDER/{name}.pth"',
    ]
    return "\n".join([f"[models.{name}]", *lines])


# One process against none


def compare(given: Given, folder: Path) -> None:
    """The same work in the run's own process and in one of a Dask cluster, in turns."""
    from pixelmill.bench import render

    (folder / "photos").mkdir(parents=True)
    render(folder / "photos", given.images)
    here: dict[str, object] = {"fan_out": "inline"}
    there: dict[str, object] = {"fan_out": "dask", "cluster_size": 1}
    took: dict[str, list[Took]] = {"inline": [], "dask": []}
    for turn in range(given.turns):
        for kind, options in ("inline", here), ("dask", there):
            found = run(folder, f"{kind}-{turn}", sources=[f"{folder}/photos"], shard_size=given.shard, **options)
            assert found["embedded"] == given.images
            took[kind].append(found)
            print(f"{kind:<8}{found['work']:8.2f} s at work, {found['start']:6.2f} s before", flush=True)
    ratios = [there["work"] / here["work"] for here, there in zip(took["inline"], took["dask"], strict=True)]
    print(f"dask / inline, each turn: {', '.join(f'{ratio:.3f}' for ratio in ratios)}; median {median(ratios):.3f}")
    for kind, runs in took.items():
        tell_each(kind, runs)


def tell_each(kind: str, runs: list[Took]) -> None:
    """Milliseconds of each shard, the run's own and the worker's."""
    for name in (*OURS, "open", "commit", "compact"):
        if any(one["calls"].get(name) for one in runs):
            each = median(one["each"].get(name, 0) / max(one["calls"].get(name, 0), 1) for one in runs)
            print(f"{kind:<8}{name:<10}{1e3 * each:10.1f} ms a shard")
    print(f"{kind:<8}{'embedded':<10}{1e3 * median(s for one in runs for s in one['shards']):10.1f} ms a shard")


# Very many rows


def dask_setup(_: object) -> None:
    """Let a process of a Dask cluster take the noise of `make_tars` for a picture that is decoded: all else is as ever.
    Dask calls it where its setting `distributed.worker.preload` names this module."""
    from pixelmill.embedding import inputs
    from pixelmill.images.sandbox import Pixels
    from pixelmill.run import settle

    def taken(data: bytes, *_: object, wanted: Sequence[object], **__: object) -> Pixels:
        picture = np.frombuffer(data, np.uint8)[-3 * SIDE * SIDE :].reshape(SIDE, SIDE, 3)
        times = INPUT // SIDE
        return Pixels(SIDE, SIDE, (picture.repeat(times, axis=0).repeat(times, axis=1),) * len(wanted))

    inputs.decode_in_sandbox = settle.decode_in_sandbox = taken


def keep_up(given: Given, folder: Path) -> None:
    """Very many tiny pictures, which several Dask processes embed; then some of them with a second model."""
    make_tars(folder / "tars", given.rows)
    make_models(folder)
    fan: dict[str, object] = {"fan_out": "dask", "cluster_size": given.processes, "batch_size": 256, "threads": 1}
    fan |= {"shard_size": given.shard}
    took = run(folder, "many", given.quick, sources=[f"{folder}/tars/*.tar"], models=["tiny"], **fan)
    tell(took, given.processes)
    if not given.again:
        return
    print("a second model, for which every content is known:")
    fan |= {"sources": [f"{folder}/tars/00000.tar"], "models": ["second"]}
    tell(run(folder, "again", given.quick, **{**fan, "store": str(folder / "many")}), given.processes)


def tell(took: Took, processes: int) -> None:
    """What a run with several processes took."""
    images, work = took["embedded"], took["work"]
    print(f"{images:,} images: {work:.1f} s at work, {images / work:,.0f} a second; {took['start']:.1f} s before, "
          f"{took['seconds']:.1f} s in all; own memory {took['own_first']:.0f} MB first, "
          f"{took['own_mb']:.0f} at most")  # fmt: skip
    busy = {name: took["each"].get(name, 0.0) for name in OURS}
    print(f"the run itself was busy {sum(busy.values()) / work:.0%} of that time, its processes "
          f"{sum(took['shards']) / work / processes:.0%}; the longest commit {took['longest']:.2f} s")  # fmt: skip
    for name in (*OURS, "open", "commit", "compact", "look up"):
        calls, seconds, cpu = (took[of].get(name, 0) for of in ("calls", "each", "each_cpu"))
        if calls:
            print(f"  {name:<8}{calls:6} times {1e3 * seconds / calls:8.1f} ms, CPU {1e3 * cpu / calls:8.1f} ms")
    print(f"  embedded {1e3 * median(took['shards']):18.1f} ms a shard")
    for name, size in took["bytes"].items():
        print(f"  {name:<32}{size / 1e6:10.2f} MB {size / images:10.1f} bytes an image")


def make_tars(folder: Path, rows: int) -> None:
    """Tar archives of distinct pictures."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(1)
    for first in range(0, rows, PER_TAR):
        with tarfile.open(folder / f"{first // PER_TAR:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for number in range(first, min(first + PER_TAR, rows)):
                remark = b"#" * int(noise.integers(256))  # pictures are of many sizes
                data = b"P6 %d %d\n%b\n255\n" % (SIDE, SIDE, remark) + noise.bytes(3 * SIDE * SIDE)
                member = tarfile.TarInfo(f"{number:09d}.ppm")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def make_models(folder: Path) -> None:
    """Networks with random weights."""
    import timm
    import torch

    for seed, name in enumerate(("tiny", "second")):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_vit", num_classes=0, img_size=INPUT).state_dict(), folder / f"{name}.pth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--shard", type=int)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="do not decode the tiny pictures")
    parser.add_argument("--again", action="store_true", help="then some of them with a second model")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(namespace=Given())
    if given.run:
        print(json.dumps(embed(given.run)))
        return
    given.shard = given.shard or (4096 if given.rows else 128)
    with tempfile.TemporaryDirectory(prefix="pixelmill-fanout-") as name:
        (keep_up if given.rows else compare)(given, given.folder or Path(name))


if __name__ == "__main__":
    main()

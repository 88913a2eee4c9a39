"""Images/s against image size, model and threads, and how busy each stage was; with plots for docs/performance.md.

    python -m benchmarks.sweep FOLDER [--seconds 8] [--plots docs]

FOLDER holds photographs (of 1,400 pixels and more), which are cut anew and saved as JPEGs of several sizes. Models:
`efficientnet_lite0` with its ImageNet weights, and OpenAI's ViT-B/32 with random ones, as runs take them by default.
`decode` and `model` are the stages alone; a stage is busy for its seconds by those of the run and the threads it has.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import plot
from benchmarks.speed import FINGERPRINT, decoded, embedded, encode, vit_b32
from pixelmill import catalog
from pixelmill.bench import rate
from pixelmill.embedding.targets import Target
from pixelmill.embedding.timing import Timing
from pixelmill.models.base import ModelSpec
from pixelmill.pipeline import Pipeline
from pixelmill.run.job import Job
from pixelmill.run.loaded import loaded_model
from pixelmill.run.settle import measured_precision
from pixelmill.sources.discover import discover

SIZES = {0.19: (500, 375), 0.79: (1024, 768), 3.1: (2048, 1536), 12.0: (4000, 3000)}
"""By megapixels."""
IMAGES = 48


@dataclass(frozen=True, slots=True)
class Point:
    """Images/s of a run and of its stages alone, and how much of the run's time each stage was at work."""

    run: float
    decode: float
    model: float
    decoding: float
    embedding: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--plots", type=Path, default=Path("docs"))
    given = parser.parse_args()
    cpus = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="pixelmill-sweep-") as name:
        folder = Path(name)
        specs = [catalog.get("efficientnet_lite0"), vit_b32(folder / "mirror", 0)[0]]
        for megapixels, size in SIZES.items():
            encode(given.folder, folder / f"{megapixels}", size, IMAGES if megapixels < 10 else IMAGES // 2)
        points = {
            (title(spec), megapixels, threads): measured(folder, spec, megapixels, threads, given.seconds)
            for spec in specs
            for megapixels in SIZES
            for threads in sorted({1, cpus})
        }
    draw(points, cpus, given.plots)


def title(spec: ModelSpec) -> str:
    return spec.name.removesuffix("_0")


def measured(folder: Path, spec: ModelSpec, megapixels: float, threads: int, seconds: float) -> Point:
    """One point, printed as a line of a table."""
    torch.set_num_threads(threads)
    photos = folder / f"{megapixels}"
    job = Job(
        sources=(str(photos),), store=folder / "none", specs=(spec,), max_pixels=10**9, max_aspect=100.0,
        max_bytes=10**9, threads=threads,
        cache={"cache_dir": folder / "cache", "mirrors": {"*": str(folder / "mirror")}},
    )  # fmt: skip
    files, weights = list(discover([str(photos)])), job.cache.open().fetch(spec.weights)
    precision = measured_precision(job, spec, files)
    target = Target(loaded_model(job, spec, weights, precision), FINGERPRINT)
    pipeline = Pipeline([target], job.decode_options("fast"), batch_size=job.batch_size, threads=threads)
    pixels = decoded(pipeline, files, threads)
    timing, spent = Timing(), 0.0

    def run() -> int:
        nonlocal spent
        start = time.perf_counter()
        timing.add(pipeline.run(files, lambda _sha256: frozenset({FINGERPRINT})).timing)
        spent += time.perf_counter() - start
        return len(files)

    def decode() -> int:
        return len(decoded(pipeline, files, threads))

    def embed() -> int:
        embedded(pipeline, pixels)
        return len(pixels)

    point = Point(
        rate(run, seconds), rate(decode, seconds), rate(embed, seconds),
        (timing.read + timing.decode) / (spent * threads), timing.embed / spent,
    )  # fmt: skip
    print(
        f"| {title(spec)} | {megapixels} | {threads} | {point.run:.1f} | {point.decode:.1f} | "
        f"{point.model:.1f} | {100 * point.decoding:.0f}% | {100 * point.embedding:.0f}% |", flush=True,
    )  # fmt: skip
    return point


def label(name: str, megapixels: float) -> str:
    return name.replace("_", "\n", 1) + f"\n{megapixels:g} MP"


def draw(points: dict[tuple[str, float, int], Point], cpus: int, folder: Path) -> None:
    """The two plots of docs/performance.md."""
    names = list(dict.fromkeys(name for name, _, _ in points))
    series = {
        f"{name}, {threads} thread{'s' * (threads > 1)}": [
            (megapixels, point.run) for (n, megapixels, t), point in points.items() if (n, t) == (name, threads)
        ]
        for name in names
        for threads in (1, cpus)
    }
    series["decoding alone"] = [
        (mp, point.decode) for (n, mp, t), point in points.items() if (n, t) == (names[0], cpus)
    ]
    plot.lines(folder / "images-per-second.svg", "A run, by image size", series, x="megapixels", y="images/s", log="xy")
    busy = {(name, mp): point for (name, mp, threads), point in points.items() if threads == cpus}
    shares = {
        "decoding": {label(name, mp): 100 * point.decoding for (name, mp), point in busy.items()},
        "model": {label(name, mp): 100 * point.embedding for (name, mp), point in busy.items()},
    }
    plot.bars(folder / "stages.svg", f"How busy each stage is, {cpus} threads", shares, y="% of the run")


if __name__ == "__main__":
    main()

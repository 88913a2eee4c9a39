"""How fast is a run beside the way people embed with CLIP today, and beside its own two stages alone?

    python -m benchmarks.speed FOLDER [--images 48] [--turns 2]

FOLDER holds photographs (of 1,400 pixels and more); they are re-encoded as JPEGs of 12 megapixels and of 500 x 375. The
model is OpenAI's ViT-B/32 with random weights, in OpenAI's own file format. In turns, on the same files and weights:

    people      one image at a time through upstream's preprocess, `encode_image` in batches of 8, float32, in a process
                of its own
    reference   Pixelmill with --decode reference --precision float32
    fast        Pixelmill as it is by default
    decoding    only that, of `fast`, in as many threads
    model       only that, of `fast`, from pixels in memory
    limit       what the chip gives: `decoding`, and the model's multiplications at the pace of a plain product of
                matrices of its shape and dtype, one after the other on the same cores

Then three such models in one run beside three runs of one each, with --decode reference, on the large pictures.
Pixelmill's times are those of reading, decoding, embedding and committing; models are loaded before, everywhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import clip
import numpy as np
import torch
from clip.model import CLIP
from PIL import Image, ImageOps
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decode import photographs
from pixelmill import catalog
from pixelmill.embedding.precision import least_cosine
from pixelmill.embedding.targets import Target
from pixelmill.models.base import EmbeddingModel, ModelSpec, WeightsSource
from pixelmill.pipeline import Pipeline
from pixelmill.run.job import Job
from pixelmill.run.loaded import loaded_model
from pixelmill.run.prepare import prepare
from pixelmill.run.scan import scan_sources
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from tests.support.checkpoints import path_under, save_openai_archive
from tests.support.shards import embed_shard

NAME = "openai_clip_vit_b32"
SIZES = {"12 megapixels": (4000, 3000), "500 x 375": (500, 375)}
BATCH = 8
"""Of people's scripts."""
TOKENS, WIDTH = 50, 768
"""Of ViT-B/32, whose largest layers are WIDTH to four times WIDTH."""
MODELS = 3
FINGERPRINT = "speed"
"""Of the matrix that nothing is written to."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--turns", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelmill-speed-") as name:
        folder = Path(name)
        models = [vit_b32(folder / "mirror", seed) for seed in range(MODELS)]
        for title, size in SIZES.items():
            images = given.images if size[0] > 1000 else 4 * given.images
            photos = folder / title.replace(" ", "-")
            encode(given.folder, photos, size, images)
            compare(title, folder, photos, *models[0], given.turns)
        several(folder, next(folder.glob("12-*")), [spec for spec, _ in models], given.turns)


def vit_b32(mirror: Path, seed: int) -> tuple[ModelSpec, Path]:
    """OpenAI's architecture with seeded random weights: its spec, and the archive below a folder of mirrors."""
    torch.manual_seed(seed)
    module = CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12).eval()
    mirror.mkdir(exist_ok=True)
    draft = mirror / "draft.pt"
    save_openai_archive(module, draft)
    sha256 = hashlib.sha256(draft.read_bytes()).hexdigest()
    source = WeightsSource(f"https://openaipublic.azureedge.net/clip/models/{sha256}/ViT-B-32.pt", sha256=sha256)
    archive = path_under(mirror, source.url)
    draft.rename(archive)
    return dataclasses.replace(catalog.get(NAME), name=f"{NAME}_{seed}", weights=source), archive


def encode(source: str, folder: Path, size: tuple[int, int], images: int) -> None:
    """So many different JPEGs of photographs: cut anew from each of them."""
    folder.mkdir()
    large = photographs(source, images)
    numbers = random.Random(1)
    for number in range(images):
        with Image.open(large[number % len(large)]) as photograph:
            width, height = photograph.size
            zoom = numbers.uniform(0.8, 1.0)
            left, top = numbers.uniform(0, width * (1 - zoom)), numbers.uniform(0, height * (1 - zoom))
            cut = photograph.convert("RGB").crop((left, top, left + zoom * width, top + zoom * height))
        ImageOps.fit(cut, size, Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=88)


def compare(title: str, folder: Path, photos: Path, spec: ModelSpec, archive: Path, turns: int) -> None:
    """Print images/s of each way, and the ratios that matter."""
    paths = sorted(map(str, photos.iterdir()))
    fast = Run(folder, "fast", photos, [spec], decode="fast", precision="auto")
    reference = Run(folder, "reference", photos, [spec], decode="reference", precision="float32")
    files, threads = list(discover([str(photos)])), fast.job.threads
    model = fast.model()
    pipeline = Pipeline(
        [Target(model, FINGERPRINT)], fast.job.decode_options("fast"), batch_size=fast.job.batch_size, threads=threads
    )
    pixels = decoded(pipeline, files, threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        ways: dict[str, tuple[Callable[[], object], int]] = {
            "people": (lambda: process.submit(people, archive, paths).result()[0], len(paths)),
            "reference": (reference, len(paths)),
            "fast": (fast, len(paths)),
            "decoding": (lambda: decoded(pipeline, files, threads), len(paths)),
            "model": (lambda: embedded(pipeline, pixels), len(pixels)),
        }
        rates, product = dict.fromkeys(ways, 0.0), 0.0
        for _ in range(turns):
            for name, (way, images) in ways.items():
                rates[name] = max(rates[name], images / seconds(way))
            product = max(product, product_rate(model, pipeline.embedder.batch_size))
        expected = process.submit(people, archive, paths).result()[1]
    rates["limit"] = 1 / (1 / rates["decoding"] + 1 / product)
    print(f"{title}, {len(paths)} images, {os.cpu_count()} CPUs, fast in {model.dtype}")
    for name, rate in rates.items():
        print(f"  {name:<10}{rate:8.1f} images/s   {rate / rates['people']:6.2f} x people")
    both = 1 / (1 / rates["decoding"] + 1 / rates["model"])
    print(f"  fast is {rates['fast'] / min(rates['decoding'], rates['model']):.2f} of its slower stage alone,")
    print(f"  {rates['fast'] / both:.2f} of both one after the other: on a CPU they share the cores,")
    print(f"  and {rates['fast'] / rates['limit']:.2f} of the limit; products alone give {product:.1f} images/s")
    for run in (fast, reference):
        print(f"  least cosine to people's vectors, {run.store.name}: {least_cosine(expected, run.vectors(paths)):.5f}")


def several(folder: Path, photos: Path, specs: list[ModelSpec], turns: int) -> None:
    """Print how much faster one run with several models is than a run for each."""
    for precision in ("auto", "float32"):
        choices = {"decode": "reference", "precision": precision}
        together = Run(folder, f"together-{precision}", photos, specs, **choices)
        singly = [Run(folder, f"singly-{precision}-{spec.name}", photos, [spec], **choices) for spec in specs]
        one, each = float("inf"), [float("inf")] * len(specs)
        for _ in range(turns):
            one = min(one, together())
            each = [min(least, run()) for least, run in zip(each, singly, strict=True)]
        print(f"{len(specs)} models, decode reference, precision {precision}: one run {one:.1f} s,", end=" ")
        print(f"{len(specs)} runs {sum(each):.1f} s, {sum(each) / one:.2f} x")


def product_rate(model: EmbeddingModel, batch: int) -> float:
    """Images/s if all of the model's multiplications went at the pace of its largest layer's."""
    size = model.preprocessing.image_size
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.encode_image(torch.zeros(1, 3, size, size, dtype=model.dtype))
    left = torch.randn(batch * TOKENS, WIDTH).to(model.dtype)
    right = torch.randn(4 * WIDTH, WIDTH).to(model.dtype)
    best = min(seconds(lambda: torch.nn.functional.linear(left, right)) for _ in range(20))
    return 2 * left.numel() * len(right) / best / counter.get_total_flops()


def seconds(way: Callable[[], object]) -> float:
    """What a way says that it took, or else what it took."""
    start = time.perf_counter()
    told = way()
    return told if isinstance(told, float) else time.perf_counter() - start


@cache
def upstream(archive: Path) -> tuple[Any, Any]:
    """Model and preprocess, loaded once in a process."""
    return clip.load(str(archive), device="cpu", jit=False)


def people(archive: Path, paths: list[str]) -> tuple[float, np.ndarray]:
    """The usual script: the seconds that it takes, without loading, and the embeddings."""
    model, preprocess = upstream(archive)
    made = []
    start = time.perf_counter()
    with torch.no_grad():
        for at in range(0, len(paths), BATCH):
            batch = torch.stack([preprocess(Image.open(path)) for path in paths[at : at + BATCH]])
            made.append(model.encode_image(batch).numpy())
    return time.perf_counter() - start, np.concatenate(made)


class Run:
    """Pixelmill over a folder of photographs. Each call fills a new store; it gives the seconds."""

    def __init__(self, folder: Path, name: str, photos: Path, specs: list[ModelSpec], **choices: Any) -> None:
        self.store = folder / f"{name}-{photos.name}"
        self._turn = 0
        self.job = Job(
            sources=(str(photos),), store=self.store, specs=tuple(specs),
            max_pixels=10**9, max_aspect=100.0, max_bytes=10**9, threads=os.cpu_count() or 1,
            cache={"cache_dir": folder / "cache", "mirrors": {"*": str(folder / "mirror")}}, **choices,
        )  # fmt: skip

    def __call__(self) -> float:
        self._turn += 1
        self.job = self.job.model_copy(update={"store": self.store.with_name(f"{self.store.name}-{self._turn}")})
        with StoreWriter(self.job.store) as writer:
            scan = scan_sources(writer.ledger, self.job.sources)
            prepared = prepare(self.job, writer, scan.number)
            matrices, plan = list(prepared.matrices), prepared.plan
            start = time.perf_counter()
            done = [embed_shard(self.job, writer, matrices, scan.number, shard) for shard in plan.shards]
            seconds = time.perf_counter() - start
        assert sum(sum(shard.embedded.values()) for shard in done) == len(self.job.specs) * plan.images
        return seconds

    def model(self) -> EmbeddingModel:
        """As a first run settles it, which this does."""
        self()
        (matrix,) = Store(self.job.store).manifest.matrices
        (spec,) = self.job.specs
        return loaded_model(self.job, spec, self.job.cache.open().fetch(spec.weights), matrix.provenance.precision)

    def vectors(self, paths: list[str]) -> np.ndarray:
        """Of the last turn, in the order of `paths`."""
        store = Store(self.job.store)
        (spec,) = self.job.specs
        by_name = dict(zip(map(os.fsdecode, store.paths), store[spec.name].read(), strict=True))
        return np.stack([by_name[Path(path).name] for path in paths]).astype(np.float32)


def decoded(pipeline: Pipeline, files: list[FoundFile], threads: int) -> list[Any]:
    """The first stage alone."""
    with ThreadPoolExecutor(threads) as pool:
        prepared = pool.map(lambda file: pipeline.reader.prepare(file, lambda _sha256: frozenset({FINGERPRINT})), files)
        return [pixels for one in prepared for pixels in one.inputs.values()]


def embedded(pipeline: Pipeline, pixels: list[Any]) -> None:
    """The second stage alone."""
    (target,) = pipeline.targets
    for at in range(0, len(pixels), pipeline.embedder.batch_size):
        pipeline.embedder.embed(target, pixels[at : at + pipeline.embedder.batch_size])


if __name__ == "__main__":
    main()

"""How fast models are on this machine, each measured in a process of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context, resource_tracker
from pathlib import Path
from typing import Any

import numpy as np

from pixelmill.embedding.inputs import Prepared
from pixelmill.embedding.targets import Target
from pixelmill.embedding.timing import Timing
from pixelmill.errors import EmbeddingFailed, SourceError
from pixelmill.models.base import ModelSpec
from pixelmill.pipeline import Pipeline
from pixelmill.run.job import Job
from pixelmill.run.loaded import loaded_model
from pixelmill.run.settle import measured_precision
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from pixelmill.watch.ctrl_c import interrupts_blocked

PICTURES = 256
"""At most so many images are looked at."""
SIZE = (500, 375)
"""Pixels of a rendered picture; ImageNet's photographs have about that many."""
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_ENOUGH = 0.95
"""A larger batch must be faster than this allows for, since it takes more memory."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model does here. Rates in images/s: `images_per_second` of a run, the others of its stages alone.

    `memory_mb` is the most that the process of a run held, in MiB, without those that decode; `device_memory_mb` the
    most of a GPU's memory.
    """

    model: str
    dim: int
    device: str
    precision: str
    images_per_second: float
    decode_images_per_second: float
    model_images_per_second: float
    ms_per_image: float
    bottleneck: str
    recommended_batch_size: int
    memory_mb: int
    device_memory_mb: int | None = None


def measure_in_new_process(job: Job, spec: ModelSpec, seconds: float) -> Figures:
    """`measure` in a new process: no model has the memory, caches and threads of the one before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        resource_tracker.ensure_running()
        with interrupts_blocked():
            measured = process.submit(measure, job, spec, seconds)
        try:
            return measured.result()
        except BrokenProcessPool as error:
            raise EmbeddingFailed(
                f"The process that measured {spec.name} was ended from outside: too little memory?"
            ) from error
        except BaseException:
            for child in active_children():
                child.terminate()
            raise


def measure(job: Job, spec: ModelSpec, seconds: float) -> Figures:
    """The figures of one model in this process, in about four times `seconds` and the start of the model, however slow
    it is. Raises SourceError when no image can be decoded."""
    file = job.cache.open().fetch_model(spec)
    files = list(itertools.islice(discover(list(job.sources)), PICTURES))
    precision = job.precision if job.precision != "auto" else measured_precision(job, spec, files)
    target = Target(loaded_model(job, spec, file, precision), "bench")
    options = job.decode_options(job.decode or "fast")
    pipeline = Pipeline([target], options, batch_size=_BATCHES[-1], threads=job.threads)
    with ThreadPoolExecutor(job.threads) as pool:
        prepare = partial(pool.map, partial(pipeline.reader.prepare, missing=_missing))
        files, inputs = _gathered(prepare, files, seconds, at_once=job.threads)
        if not inputs:
            raise SourceError(f"Expected images to measure with in {', '.join(job.sources)}. None can be decoded.")
        decoding = rate(lambda: sum(len(prepared.inputs) for prepared in prepare(files)), seconds)
    embed = lambda images: len(pipeline.embedder.embed(target, _many(inputs, images)))  # noqa: E731
    batch_size, embedding = best_batch(embed, seconds / len(_BATCHES))
    pipeline.embedder.batch_size, timing = batch_size, Timing()
    files = files[: max(1, int(seconds * min(decoding, embedding)))]

    def run() -> int:
        result = pipeline.run(files, _missing)
        timing.add(result.timing)
        return sum(len(vectors.index) for vectors in result.rows.vectors.values())

    _forget_peak()
    whole = rate(run, seconds)
    device = str(target.model.device)
    return Figures(
        model=spec.name, dim=spec.dim, device=device, precision=precision, images_per_second=round(whole, 1),
        decode_images_per_second=round(decoding, 1), model_images_per_second=round(embedding, 1),
        ms_per_image=round(1000 / whole, 1),
        bottleneck=timing.bottleneck or "", recommended_batch_size=batch_size, memory_mb=_peak_memory(),
        device_memory_mb=_peak_device_memory(device),
    )  # fmt: skip


def rate(work: Callable[[], int], seconds: float) -> float:
    """Images/s of `work`, which says how many it did; done again until `seconds` are over, and once to warm up, which
    counts only where it takes that long. Raises EmbeddingFailed if it does none.
    """
    start = time.perf_counter()
    if not (done := work()):
        raise EmbeddingFailed("Expected vectors to time. None of them was finite; try --precision float32.")
    if (spent := time.perf_counter() - start) >= seconds:
        return done / spent
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds or not done:
        done += work()
    return done / spent


def best_batch(embed: Callable[[int], int], seconds: float) -> tuple[int, float]:
    """The smallest batch size that is about as fast as any, and its images/s. `embed` embeds so many images and counts.

    Sizes are tried from 1 up, each twice the last, until two in a row gain nothing or one batch would take as long as
    all of them may; each for `seconds`.
    """
    best, best_rate, idle = 1, 0.0, 0
    for size in _BATCHES:
        if size > 1 and size / best_rate > seconds * len(_BATCHES):
            break
        found = rate(partial(embed, size), seconds)
        if _ENOUGH * found > best_rate:
            best, best_rate, idle = size, found, 0
        elif (idle := idle + 1) == 2:
            break
    return best, best_rate


def render(folder: Path, images: int = PICTURES) -> None:
    """Pictures to measure with, where there are none: soft coloured noise, as JPEGs of a photograph's size in bytes."""
    from PIL import Image

    numbers = np.random.default_rng(1)
    for number in range(images):
        coarse = Image.fromarray(numbers.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{number:06}.jpg", quality=90)


def _gathered(
    prepare: Callable[[Sequence[FoundFile]], Iterator[Prepared]], files: list[FoundFile], seconds: float, *,
    at_once: int,
) -> tuple[list[FoundFile], list[Any]]:  # fmt: skip
    """As many of the files as can be prepared in so many seconds, and the inputs that they give."""
    end, inputs, used = time.perf_counter() + seconds, list[Any](), 0
    while used < len(files) and (time.perf_counter() < end or not inputs):
        inputs += [one for prepared in prepare(files[used : used + at_once]) for one in prepared.inputs.values()]
        used += at_once
    return files[:used], inputs


def _missing(_sha256: bytes) -> frozenset[str]:
    return frozenset({"bench"})


def _many(inputs: Sequence[Any], count: int) -> list[Any]:
    return [inputs[i % len(inputs)] for i in range(count)]


def _forget_peak() -> None:
    """Begin to measure the most memory anew (proc(5): clear_refs, 5)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """MiB of resident memory at most since then (proc(5): VmHWM, in KiB)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


def _peak_device_memory(device: str) -> int | None:
    import torch

    return None if device == "cpu" else torch.cuda.max_memory_allocated(device) >> 20

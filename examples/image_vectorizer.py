"""Vectorize one picture or a folder with one model or an ensemble, and show the vector. Nothing is stored.

    python examples/image_vectorizer.py --image_path image.jpg --models openai_clip_vit_b32
    python examples/image_vectorizer.py --image_path ./images/ --models openai_clip_vit_l14 --batch_size 8
    python examples/image_vectorizer.py --image_path image.jpg --models openai_clip_vit_l14,resnet152 --device gpu

For collections use `pixelmill run`, which keeps the vectors and does only what is new.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pixelmill.devices import describe_device, resolve_device
from pixelmill.embedding.shard import Result
from pixelmill.embedding.targets import Target
from pixelmill.errors import PixelmillError
from pixelmill.formatting import printable
from pixelmill.images.decode import DecodeOptions
from pixelmill.models.base import EmbeddingModel
from pixelmill.models.load import load_file
from pixelmill.pipeline import Pipeline
from pixelmill.progress import download_bar
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from settings import load_settings
from settings.job import find_model, make_cache

RULE = "=" * 60


def main() -> int:
    """Parse the flags, load, vectorize, show; 1 when something failed."""
    flags = _flags()
    names = [name.strip() for name in flags.models.split(",") if name.strip()]
    try:
        return vectorize(flags.image_path, names, flags.batch_size, flags.device)
    except PixelmillError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def vectorize(image_path: str, names: Sequence[str], batch_size: int, wanted_device: str) -> int:
    """Show the vector of the picture, or of each picture in the folder, at `image_path`."""
    device = resolve_device(wanted_device)
    print(RULE, "Pixelmill image vectorizer", RULE, sep="\n")
    print(f"Models: {', '.join(names)}")
    print(f"Device: {device}")
    models = [load_model(name, device) for name in names]
    single = Path(image_path).is_file()
    print(RULE)
    print(f"Models loaded: {len(models)}")
    print(f"Total feature dimension: {sum(model.spec.dim for model in models)}")
    print(f"Complexity factor: {len(models)}x")
    print(f"Device information: {describe_device(device)}")
    print(f"Mode: {'single image' if single else 'batch (folder)'}")
    print(f"Path: {image_path}")
    start = time.perf_counter()
    result = embed(models, list(discover([image_path])), batch_size)
    show(result, models, device, time.perf_counter() - start)
    return 0 if result.rows.contents and not (single and result.rows.failures) else 1


def load_model(name: str, device: str) -> EmbeddingModel:
    """The model, its weights downloaded if need be, telling each step."""
    settings = load_settings()
    spec, cache = find_model(settings, name), make_cache(settings).open()
    print(f"Loading {name} …")
    start = time.perf_counter()
    if cache.cached(spec.weights) is None:
        print(f"  downloading weights from {spec.weights.url}")
    with download_bar(name) as progress:
        file = cache.fetch(spec.weights, progress=progress)
    model = load_file(spec, file, device=device)
    print(f"  loaded to {device}")
    print(f"  done: {spec.dim} dimensions, {time.perf_counter() - start:.2f} s")
    return model


def embed(models: Sequence[EmbeddingModel], files: Sequence[FoundFile], batch_size: int) -> Result:
    """The vectors of `files` by each model; a model's place in `models` is its key."""
    targets = [Target(model, str(number)) for number, model in enumerate(models)]
    keys = frozenset(target.fingerprint for target in targets)
    return Pipeline(targets, DecodeOptions(), batch_size=batch_size, threads=2).run(files, lambda _sha256: keys)


def show(result: Result, models: Sequence[EmbeddingModel], device: str, seconds: float) -> None:
    """Device, models, seconds; then each picture's vector: shape, first elements, mean and standard deviation."""
    contents, vectors = result.rows.contents, side_by_side(result, len(models))
    print(RULE)
    print(f"Device: {device}")
    print(f"Models: {', '.join(model.spec.name for model in models)} ({len(models)})")
    print(f"Processing time: {seconds:.2f} s for {len(vectors)} image{'' if len(vectors) == 1 else 's'}")
    for index, vector in vectors.items():
        print(f"\n{printable(contents[index].file.absolute)}")
        print(f"Vector shape: {vector.shape}")
        print(f"First 10 elements: {np.array2string(vector[:10], precision=4, separator=', ', max_line_width=110)}")
        print(f"Mean: {vector.mean():.6f}")
        print(f"Standard deviation: {vector.std():.6f}")
    for path, _ in result.rows.copies:
        print(f"\n{printable(path)}\nHas the same content as one of the above.")
    for failure in result.rows.failures:
        print(f"\n{printable(failure.path)}\nNot vectorized ({failure.stage}): {failure.reason}", file=sys.stderr)
    for file, reason in result.unread:
        print(f"\n{printable(file.absolute)}\nNot read: {reason}", file=sys.stderr)


def side_by_side(result: Result, models: int) -> dict[int, np.ndarray]:
    """For each content that every model embedded, its vectors one after the other, in the order of the models."""
    found: list[dict[int, np.ndarray]] = []
    for number in range(models):
        made = result.rows.vectors.get(str(number))
        found.append(dict(zip(made.index.tolist(), made.values, strict=True)) if made else {})
    common = sorted(set(found[0]).intersection(*found[1:]))
    return {index: np.concatenate([one[index] for one in found]) for index in common}


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_path", required=True, help="a picture, or a folder of pictures")
    parser.add_argument("--models", default="efficientnet_lite0", help="models side by side, as a,b")
    parser.add_argument("--batch_size", type=int, default=8, help="pictures that a model takes at once")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"), help="where the models run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

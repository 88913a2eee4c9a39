"""Vectorize one picture or a folder with one model or an ensemble, and show the vector. Nothing is stored.

    python examples/image_vectorizer.py --image_path image.jpg --models openai_clip_vit_b32
    python examples/image_vectorizer.py --image_path ./images/ --models openai_clip_vit_l14 --batch_size 8
    python examples/image_vectorizer.py --image_path image.jpg --models openai_clip_vit_l14,resnet152 --device gpu

For collections use `pixelmill run`, which keeps the vectors and does only what is new. With a Chinese locale it speaks
Chinese.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from pixelmill.devices import describe_device, resolve_device
from pixelmill.embedding.shard import Result
from pixelmill.embedding.targets import Target
from pixelmill.errors import PixelmillError, SourceError
from pixelmill.formatting import printable
from pixelmill.images.decode import DecodeOptions
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load_file
from pixelmill.models.weights import WeightsCache
from pixelmill.pipeline import Pipeline
from pixelmill.progress import download_bar
from pixelmill.sources.discover import discover
from pixelmill.sources.found import FoundFile
from settings import load_settings
from settings.job import find_model, make_cache

RULE = "=" * 60
CHINESE = {
    "Pixelmill image vectorizer": "Pixelmill 图像向量化工具",
    "Models: {names}": "使用的模型: {names}",
    "Device: {device}": "使用的设备: {device}",
    "Loading {name} …": "正在加载模型: {name} …",
    "  downloading weights from {url}": "  正在下载权重: {url}",
    "  loaded to {device}": "  模型已加载到设备: {device}",
    "  done: {dim} dimensions, {seconds:.2f} s": "  加载完成: 特征维度 {dim}, 耗时 {seconds:.2f} 秒",
    "Models loaded: {count}": "已加载模型数量: {count}",
    "Total feature dimension: {dim}": "总特征维度: {dim}",
    "Complexity factor: {count}x": "复杂度系数: {count}x",
    "Device information: {device}": "设备信息: {device}",
    "Mode: single image": "处理模式: 单张图像",
    "Mode: batch (folder)": "处理模式: 批量处理 (文件夹)",
    "Path: {path}": "路径: {path}",
    "Models: {names} ({count})": "使用的模型: {names} (共 {count} 个)",
    "Processing time: {seconds:.2f} s for 1 image": "处理时间: {seconds:.2f} 秒, 共 1 张图像",
    "Processing time: {seconds:.2f} s for {images} images": "处理时间: {seconds:.2f} 秒, 共 {images} 张图像",
    "Vector shape: {shape}": "向量形状: {shape}",
    "First 10 elements: {elements}": "前 10 个元素: {elements}",
    "Mean: {value:.6f}": "平均值: {value:.6f}",
    "Standard deviation: {value:.6f}": "标准差: {value:.6f}",
    "Has the same content as one of the above.": "与上面某张图像内容相同。",
    "Not vectorized ({stage}): {reason}": "未能向量化 ({stage}): {reason}",
    "Not read: {reason}": "未能读取: {reason}",
    "Error: {error}": "错误: {error}",
}


def main() -> int:
    """Parse the flags, load, vectorize, show; 1 when something failed."""
    flags = _flags()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has not all letters shows them escaped
            stream.reconfigure(errors="backslashreplace")
    names = [name.strip() for name in flags.models.split(",") if name.strip()]
    try:
        return vectorize(flags.image_path, names, flags.batch_size, flags.device)
    except PixelmillError as error:
        say("Error: {error}", error=error, file=sys.stderr)
        return 1


def say(words: str, *, file: TextIO | None = None, **values: object) -> None:
    """Print `words`, filled in; in Chinese to whom the locale says so."""
    print(in_ours(words).format(**values), file=file)


def in_ours(words: str) -> str:
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return CHINESE[words] if locale.lower().startswith("zh") else words


def vectorize(image_path: str, names: Sequence[str], batch_size: int, wanted_device: str) -> int:
    """Show the vector of the picture, or of each picture in the folder, at `image_path`."""
    settings = load_settings()
    specs = [find_model(settings, name) for name in names]  # a typo is told before PyTorch is loaded
    files = list(discover([image_path]))
    if not files:
        raise SourceError(f"Expected a picture, or a folder that holds some. Got {image_path!r}, where there is none.")
    device = resolve_device(wanted_device)
    print(RULE, in_ours("Pixelmill image vectorizer"), RULE, sep="\n")
    say("Models: {names}", names=", ".join(names))
    say("Device: {device}", device=device)
    models = [load_model(spec, make_cache(settings).open(), device) for spec in specs]
    single = Path(image_path).is_file()
    print(RULE)
    say("Models loaded: {count}", count=len(models))
    say("Total feature dimension: {dim}", dim=sum(model.spec.dim for model in models))
    say("Complexity factor: {count}x", count=len(models))
    say("Device information: {device}", device=describe_device(device))
    say("Mode: single image" if single else "Mode: batch (folder)")
    say("Path: {path}", path=image_path)
    start = time.perf_counter()
    result = embed(models, files, batch_size)
    show(result, models, device, time.perf_counter() - start)
    return 0 if result.rows.contents and not (single and result.rows.failures) else 1


def load_model(spec: ModelSpec, cache: WeightsCache, device: str) -> EmbeddingModel:
    """The model, its weights downloaded if need be, telling each step."""
    say("Loading {name} …", name=spec.name)
    start = time.perf_counter()
    if cache.cached(spec.weights) is None:
        say("  downloading weights from {url}", url=spec.weights.url)
    with download_bar(spec.name) as progress:
        file = cache.fetch_model(spec, progress=progress)
    model = load_file(spec, file, device=device)
    say("  loaded to {device}", device=device)
    say("  done: {dim} dimensions, {seconds:.2f} s", dim=spec.dim, seconds=time.perf_counter() - start)
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
    say("Device: {device}", device=device)
    say("Models: {names} ({count})", names=", ".join(model.spec.name for model in models), count=len(models))
    one = "Processing time: {seconds:.2f} s for 1 image"
    many = "Processing time: {seconds:.2f} s for {images} images"
    say(one if len(vectors) == 1 else many, seconds=seconds, images=len(vectors))
    for index, vector in vectors.items():
        print(f"\n{printable(contents[index].file.absolute)}")
        say("Vector shape: {shape}", shape=vector.shape)
        elements = np.array2string(vector[:10], precision=4, separator=", ", max_line_width=110)
        say("First 10 elements: {elements}", elements=elements)
        say("Mean: {value:.6f}", value=vector.mean())
        say("Standard deviation: {value:.6f}", value=vector.std())
    for copy, _ in result.rows.copies:
        print(f"\n{printable(copy.absolute)}")
        say("Has the same content as one of the above.")
    for failure in result.rows.failures:
        print(f"\n{printable(failure.path)}", file=sys.stderr)
        say("Not vectorized ({stage}): {reason}", stage=failure.stage, reason=failure.reason, file=sys.stderr)
    for file, reason in result.unread:
        print(f"\n{printable(file.absolute)}", file=sys.stderr)
        say("Not read: {reason}", reason=reason, file=sys.stderr)


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
    parser.add_argument("--batch_size", type=_count, default=8, help="pictures that a model takes at once")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"), help="where the models run")
    return parser.parse_args()


def _count(written: str) -> int:
    if (number := int(written)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())

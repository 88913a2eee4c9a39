"""Archives as people make them, of files by name."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def pack_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def pack_tar(path: Path, files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def pack_parquet(path: Path, files: Mapping[str, bytes]) -> None:
    images = [{"bytes": data, "path": name} for name, data in files.items()]
    pq.write_table(pa.table({"image": images, "label": list(range(len(images)))}), path, row_group_size=40)


def content(number: int) -> bytes:
    """The bytes of a picture, by its number."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def shard(numbers: range | list[int]) -> dict[str, bytes]:
    """Pictures as a dataset has them."""
    return {f"{number:06}.png": content(number) for number in numbers}

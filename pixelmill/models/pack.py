"""Pack the files of models into a bundle (`fetch/bundle.py`), verified, and only what is not in it yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from pixelmill.errors import WeightsRefused
from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.models.fetch.bundle import Bundle, Packed
from pixelmill.models.fetch.mirrors import place_under
from pixelmill.models.fetch.records import sha256_of, sync_folder
from pixelmill.models.weights import CachedFile, WeightsCache


def pack(specs: Iterable[ModelSpec], cache: WeightsCache, folder: Path) -> Bundle:
    """Put all files of the models into a bundle in `folder`, fetched through `cache`; what is there already stays.

    A file counts once it is whole, verified and on the disk: a bundle that was cut off goes on where it stopped.
    Files that an installed package ships, or that lie on this machine only (`file:`), are not packed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        bundle = Bundle.read(folder) or Bundle({}, {})
        for spec in specs:
            fetched = [cache.fetch_if_there(source) for source in spec.files if is_remote(source)]
            packed = dict(_put(file, folder, bundle) for file in fetched if file)
            bundle.files.update(packed)
            bundle.models[spec.name] = list(packed)
            bundle.write(folder)
    return bundle


def is_remote(source: WeightsSource) -> bool:
    """Whether a source is asked for over a network, and so has to be packed."""
    return source.url.startswith(("http://", "https://"))


def _put(file: CachedFile, folder: Path, bundle: Bundle) -> tuple[str, Packed]:
    name = place_under("", file.url)
    if not _is_whole(folder / name, bundle.files.get(name), file):
        _copy(file, folder / name)
    return name, Packed(file.url, file.sha256, file.path.stat().st_size)


def _is_whole(path: Path, packed: Packed | None, file: CachedFile) -> bool:
    return packed is not None and packed.sha256 == file.sha256 and path.is_file() and sha256_of(path) == file.sha256


def _copy(file: CachedFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    shutil.copyfile(file.path, partial)
    if (found := sha256_of(partial)) != file.sha256:
        partial.unlink()
        raise WeightsRefused(f"Expected sha256 {file.sha256} of {partial}. Found {found}: copying went wrong.")
    partial.replace(target)
    sync_folder(target.parent)

"""The models that this process has loaded, each once."""

from __future__ import annotations

import os

from pixelmill.devices import free_gpu_memory, usable_device
from pixelmill.malloc import give_back, keep_freed
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load_file
from pixelmill.models.weights import CachedFile
from pixelmill.run.job import Job
from pixelmill.watch.hangs import model_hangs

_loaded: dict[tuple[ModelSpec, str, str, str], EmbeddingModel] = {}
_sound: set[tuple[str, str, str]] = set()
"""What this process was seen to make as it is stored: by store, fingerprint and device."""


def loaded_model(job: Job, spec: ModelSpec, file: CachedFile, precision: str) -> EmbeddingModel:
    """The model on its device in `precision`, loaded once in this process."""
    device, _ = usable_device(job.devices.get(spec.name, job.device), fall_back=job.missing_device == "cpu")
    key = (spec, file.sha256, device, precision)
    if key not in _loaded:
        keep_freed()
        _loaded[key] = load_file(spec, file, device=device, dtype=precision)
    return _loaded[key]


def release_models() -> None:
    """Forget the models that this process has loaded, and give the memory of GPUs back, unless one hangs."""
    _loaded.clear()
    _sound.clear()
    give_back()
    if not model_hangs():
        free_gpu_memory()


def is_sound(job: Job, fingerprint: str, model: EmbeddingModel) -> bool:
    """Whether a loaded model was seen to make what a matrix holds."""
    return (os.fspath(job.store), fingerprint, str(model.device)) in _sound


def note_sound(job: Job, fingerprint: str, model: EmbeddingModel) -> None:
    """Take note that a loaded model makes what a matrix holds, until the models are released."""
    _sound.add((os.fspath(job.store), fingerprint, str(model.device)))

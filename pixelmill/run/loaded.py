"""The models that this process has loaded, each once."""

from __future__ import annotations

from pixelmill.devices import free_gpu_memory, usable_device
from pixelmill.malloc import give_back, keep_freed
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load_file
from pixelmill.models.weights import CachedFile
from pixelmill.run.drift import forget_measured
from pixelmill.run.job import Job
from pixelmill.watch.hangs import model_hangs

_loaded: dict[tuple[ModelSpec, str, str, str], EmbeddingModel] = {}


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
    forget_measured()
    give_back()
    if not model_hangs():
        free_gpu_memory()

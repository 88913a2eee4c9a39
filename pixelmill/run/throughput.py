"""How fast each worker is with each model: as measured in earlier runs, else computed from what the model costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pixelmill.devices import resolve_device
from pixelmill.models.base import ModelSpec
from pixelmill.models.cost import gflops
from pixelmill.run.results import WorkerReport

GUESSED = {"cpu": 100.0, "cuda": 10_000.0}
"""Billions of operations a second where nobody has measured: two cores in float32, a small GPU in half precision."""
_READING = 0.02
"""Seconds to read and decode an image where nobody has measured it, all threads together."""
_LOADING = 2.0
_LOADED_BYTES = 500e6
"""A model takes 2 s, and one more for each 500 MB of weights, to be loaded: about what a local disk gives."""


class Throughput:
    """Seconds an image, by worker and model. `measured` says which of them somebody has measured."""

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        earlier: Iterable[Mapping[str, WorkerReport]] = (),
        devices: Mapping[str, str] = {},
    ) -> None:
        """`earlier` are earlier runs, by worker: what they did and how long it took adds up by worker and model. What a
        worker did on a device of another kind than the one it has in `devices` does not count."""
        self._specs = specs
        models: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        reading: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for workers in earlier:
            for worker, did in workers.items():
                _add(reading[worker], did.images, did.reading_seconds)
                for model, work in did.models.items():
                    if _same_kind(devices.get(worker, "auto"), work.device):
                        _add(models[worker, model], work.images, work.seconds)
        self._models = {key: seconds / images for key, (images, seconds) in models.items() if images}
        self._reading = {worker: seconds / images for worker, (images, seconds) in reading.items() if images}

    def measured(self, worker: str, model: str) -> bool:
        return (worker, model) in self._models

    def reading(self, worker: str) -> float:
        """Seconds to read and decode an image, all threads of the worker together."""
        return self._reading.get(worker, _READING)

    def model(self, worker: str, device: str, spec: ModelSpec) -> float:
        """Seconds that one image takes the model; where nobody measured it, in proportion to others on that worker."""
        known = self._models.get((worker, spec.name))
        return known if known is not None else gflops(spec) / self._rate(worker, device)

    def loading(self, spec: ModelSpec) -> float:
        """Seconds to load the model."""
        return _LOADING + spec.parameters * 4 / _LOADED_BYTES

    def _rate(self, worker: str, device: str) -> float:
        """Billions of operations a second: the mean of what was measured there, else a guess."""
        known = [
            gflops(spec) / self._models[worker, spec.name] for spec in self._specs if self.measured(worker, spec.name)
        ]
        if known:
            return sum(known) / len(known)
        return GUESSED["cpu" if device == "cpu" or (device == "auto" and resolve_device("auto") == "cpu") else "cuda"]


def _same_kind(asked: str, used: str) -> bool:
    return asked == "auto" or (asked == "cpu") == (used == "cpu")


def _add(total: list[float], images: float, seconds: float) -> None:
    total[0] += images
    total[1] += seconds

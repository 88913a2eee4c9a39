"""The models that this process keeps loaded between calls, on their devices: the next call begins at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

from pixelmill.devices import free_gpu_memory
from pixelmill.malloc import give_back, keep_freed
from pixelmill.models.base import EmbeddingModel, ModelSpec
from pixelmill.models.load import load_file
from pixelmill.models.weights import CachedFile, WeightsCache
from pixelmill.search.searcher import Searcher
from pixelmill.store.reader import Store

KEPT: Final = 8
"""Models that stay loaded; of more, those that were used last."""

_models: OrderedDict[tuple[ModelSpec, str, str, str], EmbeddingModel] = OrderedDict()
_searchers: WeakSet[Searcher] = WeakSet()
_guard = threading.Lock()


def warm_model(spec: ModelSpec, file: CachedFile, *, device: str, dtype: str) -> EmbeddingModel:
    """What `load_file` gives, loaded when it is first asked for. Other weights are another model."""
    key = (spec, file.sha256, device, dtype)
    with _guard:
        if key not in _models:
            keep_freed()
            _models[key] = load_file(spec, file, device=device, dtype=dtype)
        _models.move_to_end(key)
        while len(_models) > KEPT:
            _models.popitem(last=False)
        return _models[key]


def warm_searcher(store: Store, find: Callable[[str], ModelSpec], cache: WeightsCache, device: str) -> Searcher:
    """Searches a snapshot, by models that are kept loaded for all stores."""
    searcher = Searcher(store, find=find, cache=cache, device=device, load=warm_model)
    _searchers.add(searcher)
    return searcher


def release_models() -> None:
    """Forget the models that `embed` and `Store.search` keep loaded, and give the memory of GPUs back."""
    with _guard:
        _models.clear()
        for searcher in _searchers:
            searcher.release_models()
    give_back()
    free_gpu_memory()

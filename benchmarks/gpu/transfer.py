"""From pixels in memory to embeddings in memory: what pinned memory and a stream for copies gain."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.gpu.cells import Cells, Figure, Key, Setting
from benchmarks.gpu.model import alone
from benchmarks.gpu.models import loaded
from pixelmill.bench import rate
from pixelmill.embedding.embedder import Embedder
from pixelmill.embedding.targets import Target
from pixelmill.embedding.transfer import Collect, Feed
from pixelmill.malloc import keep_freed

TABLE = "transfer"
_BATCHES = 16
"""That a GPU is given in one turn."""
PAGEABLE, PINNED, AS_IT_IS = "pageable memory", "pinned memory", "pinned memory, copies on a stream of their own"


def cells(setting: Setting) -> Cells:
    """Images/s of each model, a share of what it does alone."""
    return {
        Key(TABLE, f"{setting.half}, {way}", name): partial(_rate, setting, name, way)
        for name in setting.models
        for way in (PAGEABLE, PINNED, AS_IT_IS)
    }


def _rate(setting: Setting, name: str, way: str) -> Figure:
    if way != PAGEABLE:
        setting.need_cuda()
    keep_freed()  # as a run does
    model, batch = loaded(setting, name, setting.half), setting.batches[-1]
    target = Target(model, "gpu")
    embedder = Embedder([target], batch_size=batch)
    embedder._feeds = {model.device: feed(model.device, way)}
    side = model.preprocessing.image_size
    inputs = list(np.random.default_rng(1).integers(0, 256, (batch, side, side, 3), dtype=np.uint8))
    batches = _BATCHES if setting.is_cuda else 1
    done = rate(lambda: embedded(embedder, target, [inputs] * batches), setting.seconds)
    return Figure(done, (alone(name, setting.half, batch),))


def embedded(embedder: Embedder, target: Target, batches: Sequence[Sequence[np.ndarray]]) -> int:
    """How many images; a batch is given before the one before is collected, as a run does (`embedding/shard.py`)."""
    begun, done = deque[Collect](), 0
    for inputs in batches:
        begun.append(embedder.start(target, inputs))
        while len(begun) > embedder.ahead(target):
            done += len(begun.popleft()())
    return done + sum(len(collect()) for collect in begun)


def feed(device: torch.device, way: str) -> Feed:
    """The way to a device and back, without what is to be tried."""
    made = Feed(device)
    if way == PAGEABLE:
        made._copies, made.ahead = None, 0
    elif way == PINNED:
        made._copies = torch.cuda.current_stream(device)
    return made

"""Decode once, embed with every model of this worker, hand over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

import numpy as np

from pixelmill.embedding.embedder import Embedder
from pixelmill.embedding.inputs import Inputs
from pixelmill.embedding.reader import Reader
from pixelmill.embedding.shard import Result, Shard
from pixelmill.embedding.targets import MissingMatrices, Target
from pixelmill.embedding.timing import waited_for
from pixelmill.images.decode import DecodeOptions
from pixelmill.sources.found import FoundFile


class Pipeline:
    """Threads read and decode; the calling thread runs the models. Each image is decoded once for all `targets`.

    `read` gives the bytes of an image, unless they are read where it lies.
    """

    def __init__(
        self, targets: Sequence[Target], options: DecodeOptions, *, batch_size: int, threads: int,
        read: Callable[[FoundFile], bytes] | None = None,
    ) -> None:  # fmt: skip
        self.targets = targets
        self.inputs = Inputs(targets, options)
        self.reader = Reader(self.inputs, options, threads=threads, read=read)
        self.embedder = Embedder(targets, batch_size=batch_size)
        self._shard = self._new_shard()

    def run(
        self, files: Iterable[FoundFile], missing: MissingMatrices, *, stop: Callable[[], bool] = lambda: False
    ) -> Result:
        """Embed `files`, until they end or `stop` says so; what was read by then is finished."""
        self._shard = shard = self._new_shard()
        ahead = 2 * self.embedder.batch_size
        with closing(self.reader.prepared(files, missing, ahead=ahead, stop=stop)) as prepared:
            for file in waited_for(prepared, shard.result.timing):
                shard.add(file)
        return shard.finish()

    def so_far(self) -> Result:
        """What the last run has embedded, if it was left because a model hangs."""
        return self._shard.so_far()

    def embed_bytes(self, data: bytes) -> dict[str, np.ndarray]:
        """The raw embedding float32 (dim,) of one image file's bytes, by fingerprint. Raises ImageRejected."""
        _, made = self.inputs.of(data, frozenset(target.fingerprint for target in self.targets))
        return {t.fingerprint: self.embedder.embed(t, [made[self.inputs.key(t.model)]])[0] for t in self.targets}

    def _new_shard(self) -> Shard:
        return Shard(self.targets, self.inputs, self.embedder)

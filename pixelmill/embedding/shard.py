"""One shard of images while it is embedded: what was learnt of each so far, and what waits for a full batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pixelmill.embedding.embedder import Embedder
from pixelmill.embedding.facts import FACTS_GROUP, FACTS_NAME, Found, gathered
from pixelmill.embedding.inputs import Inputs, Prepared
from pixelmill.embedding.progress import tell
from pixelmill.embedding.targets import Target
from pixelmill.embedding.timing import Timing, timed_model
from pixelmill.embedding.transfer import Collect
from pixelmill.errors import ImageRejected
from pixelmill.sources.found import FoundFile
from pixelmill.store.rows import Content, Failure, ShardRows, Vectors
from pixelmill.watch.calls import begin, go_on
from pixelmill.watch.hangs import Hang
from pixelmill.watch.stopping import is_late


@dataclass(slots=True)
class Result:
    """What a shard gave. `unread` are files that could not be read this time but may be later, with the reason; of
    these `hung` did not answer, or lie where others do not; `noted` those that were taken although something is wrong
    with them, with what."""

    rows: ShardRows = field(default_factory=ShardRows)
    timing: Timing = field(default_factory=Timing)
    unread: list[tuple[FoundFile, str]] = field(default_factory=list)
    noted: list[tuple[FoundFile, str]] = field(default_factory=list)
    hung: list[Hang] = field(default_factory=list)
    read: int = 0


class Shard:
    """Takes files as they are prepared, has them embedded in batches, and gives the rows."""

    def __init__(self, targets: Sequence[Target], inputs: Inputs, embedder: Embedder) -> None:
        self._targets = targets
        self._inputs = inputs
        self._embedder = embedder
        self.result = Result()
        self._known: dict[bytes, int] = {}
        self._waiting: dict[str, list[tuple[int, Any]]] = {t.fingerprint: [] for t in targets}
        self._begun: dict[str, deque[tuple[np.ndarray, Collect]]] = {t.fingerprint: deque() for t in targets}
        self._done: dict[str, list[Vectors]] = {t.fingerprint: [] for t in targets}
        self._facts: list[tuple[int, Found]] = []

    def add(self, prepared: Prepared) -> None:
        """Take a file, and embed what makes a full batch with it."""
        self.result.timing.add(prepared.timing)
        if prepared.hang:
            self.result.hung.append(prepared.hang)
        if prepared.unread:
            self.result.unread.append((prepared.file, prepared.unread))
            return
        self.result.read += 1
        if prepared.note:
            self.result.noted.append((prepared.file, prepared.note))
        if prepared.rejected:
            self._reject(prepared, prepared.rejected)
        if prepared.sha256 is not None:
            self._place(prepared, prepared.sha256)

    def finish(self) -> Result:
        """Embed what is left, unless it is too late for that, and give all."""
        for target in self._targets:
            self._flush(target, 1)
            self._collect(target, 0)
        return self.so_far()

    def so_far(self) -> Result:
        """What is done, whatever is under way."""
        self.result.rows.vectors = {f: _joined(done) for f, done in self._done.items() if done}
        self.result.rows.facts = gathered(self._facts) if self._facts else None
        return self.result

    def _reject(self, prepared: Prepared, rejected: ImageRejected) -> None:
        # One that models have embedded, which only lacks its facts, is refused for these alone.
        what = (FACTS_GROUP.fingerprint, FACTS_NAME) if prepared.wanted == {FACTS_GROUP.fingerprint} else ("", "")
        failure = Failure(prepared.file.absolute, prepared.sha256, rejected.stage, rejected.reason, *what)
        self.result.rows.failures.append(failure)

    def _place(self, prepared: Prepared, sha256: bytes) -> None:
        """A content met for the first time, and not wholly stored, gets an index; a copy of one only its name."""
        rows = self.result.rows
        if sha256 in self._known or not (prepared.wanted or prepared.rejected):
            rows.copies.append((prepared.file, sha256))
            return
        index = self._known[sha256] = len(rows.contents)
        rows.contents.append(Content(prepared.file, sha256, *prepared.size))
        if prepared.facts is not None:
            self._facts.append((index, prepared.facts))
            if len(prepared.wanted) == 1:
                tell(FACTS_NAME, 1)
        for target in self._targets:
            if target.fingerprint in prepared.wanted and not prepared.rejected:
                key = self._inputs.key(target.model)
                self._waiting[target.fingerprint].append((index, prepared.inputs[key]))
                self._flush(target, self._embedder.batch_size)

    def _flush(self, target: Target, least: int) -> None:
        waiting = self._waiting[target.fingerprint]
        while len(waiting) >= least and waiting and not is_late():
            batch = waiting[: self._embedder.batch_size]
            del waiting[: len(batch)]
            _begin(target, len(batch))
            with timed_model(self.result.timing, target.model.spec.name):
                collect = self._embedder.start(target, [pixels for _, pixels in batch])
            self._begun[target.fingerprint].append((np.array([index for index, _ in batch]), collect))
            self._collect(target, self._embedder.ahead(target))

    def _collect(self, target: Target, left: int) -> None:
        """Take the embeddings of what was begun, but for `left` batches, with which the device goes on."""
        begun = self._begun[target.fingerprint]
        while len(begun) > left:
            index, collect = begun.popleft()
            _begin(target, len(index))
            with timed_model(self.result.timing, target.model.spec.name):
                values = collect()
                go_on()
            self._keep(target, index, values)

    def _keep(self, target: Target, index: np.ndarray, values: np.ndarray) -> None:
        finite = np.isfinite(values).all(axis=1)
        for i in index[~finite]:
            self._refuse(target, self.result.rows.contents[i])
        self._done[target.fingerprint].append(Vectors(index[finite], values[finite]))
        tell(target.model.spec.name, int(finite.sum()))

    def _refuse(self, target: Target, content: Content) -> None:
        model, precision = target.model.spec.name, str(target.model.dtype).removeprefix("torch.")
        reason = f"{model} in {precision} gave a vector that is not finite"
        failure = Failure(content.file.absolute, content.sha256, "embed", reason, target.fingerprint, model)
        self.result.rows.failures.append(failure)


def _begin(target: Target, images: int) -> None:
    begin("embed", f"{target.model.spec.name} with {images} images on {target.model.device}")


def _joined(done: Sequence[Vectors]) -> Vectors:
    return Vectors(np.concatenate([v.index for v in done]), np.concatenate([v.values for v in done]))

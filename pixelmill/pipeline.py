"""Decode once, embed with every model of this worker, hand over rows."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelmill.errors import ImageRejected
from pixelmill.feed import Collect, Feed
from pixelmill.images.apart import Pixels, decode_apart
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.found import FoundFile
from pixelmill.images.preprocess import normalize
from pixelmill.models.base import EmbeddingModel
from pixelmill.remote.reading import is_elsewhere, read_image
from pixelmill.store.commit import Content, Harvest, Vectors
from pixelmill.store.ledger import Failure

if TYPE_CHECKING:
    import torch

READS_AT_ONCE = 32
"""Images elsewhere that are read at once: each waits for a server, not for this machine."""
BYTES_AHEAD = 256 << 20
"""Once so many bytes of images elsewhere are asked for, or wait to be decoded, no more are."""

Lacking = Callable[[bytes], frozenset[str]]
"""The fingerprints of the matrices that lack a content, by its sha256."""


@dataclass(frozen=True, slots=True)
class Target:
    """A loaded model and the fingerprint of the matrix that it fills."""

    model: EmbeddingModel
    fingerprint: str


@dataclass(slots=True)
class Timing:
    """Busy seconds by stage (reading and decoding summed over threads), and how long the models waited for pixels."""

    read: float = 0.0
    decode: float = 0.0
    wait: float = 0.0
    models: dict[str, float] = field(default_factory=dict)

    def add(self, other: Timing) -> None:
        self.read += other.read
        self.decode += other.decode
        self.wait += other.wait
        for model, seconds in other.models.items():
            self.models[model] = self.models.get(model, 0.0) + seconds

    @property
    def embed(self) -> float:
        return sum(self.models.values())

    @property
    def bottleneck(self) -> str | None:
        """The stage that the run would gain most from speeding up; None when nothing was embedded."""
        if not self.embed:
            return None
        if self.embed >= self.wait:
            return "model"
        return "read" if self.read > self.decode else "decode"


@dataclass(slots=True)
class Result:
    """What a shard gave. `unread` are files that could not be read this time but may be later, with the reason;
    `noted` those that were taken although something is wrong with them, with what."""

    harvest: Harvest = field(default_factory=Harvest)
    timing: Timing = field(default_factory=Timing)
    unread: list[tuple[FoundFile, str]] = field(default_factory=list)
    noted: list[tuple[FoundFile, str]] = field(default_factory=list)
    read: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that was read: its inputs by `Pipeline.input_key`, or why there are none."""

    file: FoundFile
    sha256: bytes | None = None
    size: tuple[int, int] = (0, 0)
    inputs: Mapping[object, Any] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()
    rejected: ImageRejected | None = None
    unread: str = ""
    note: str = ""
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file on its way: `reading` is None for one that is read where it is decoded, and `size` 0; else `size` is its
    bytes, or about those of the last ones."""

    prepared: Future[Prepared]
    reading: Future[bytes] | None
    size: int

    def cancel(self) -> None:
        self.prepared.cancel()
        if self.reading:
            self.reading.cancel()


class Pipeline:
    """Threads read, each with a process that decodes; the calling thread runs the models. Each image is decoded once
    for all `targets`.

    Images wait in order, at most `2 * batch_size` of them decoded: memory does not grow with the shard.
    A batch that does not fit the device's memory halves the batch size for good.
    """

    def __init__(
        self, targets: Sequence[Target], options: DecodeOptions, *, batch_size: int, threads: int,
        on_embedded: Callable[[str, int], None] = lambda _model, _images: None,
    ) -> None:  # fmt: skip
        self._targets = targets
        self._options = options
        self._threads = threads
        self._on_embedded = on_embedded
        self._usual_size = 1 << 20
        self.batch_size = batch_size
        self._shortest = max((t.model.preprocessing.resize for t in targets), default=None)
        self._feeds = {target.model.device: Feed(target.model.device) for target in targets}

    def run(self, files: Iterable[FoundFile], lacking: Lacking, *, stop: Callable[[], bool] = lambda: False) -> Result:
        """Embed `files`, until they end or `stop` says so; what was read by then is finished."""
        shard = _Shard(self)
        with (
            ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="read") as readers,
            ThreadPoolExecutor(self._threads, thread_name_prefix="decode") as pool,
        ):
            for prepared in self._prepared(pool, readers, files, lacking, stop, shard.result.timing):
                shard.add(prepared)
        return shard.finish()

    def _prepared(
        self,
        pool: ThreadPoolExecutor,
        readers: ThreadPoolExecutor,
        files: Iterable[FoundFile],
        lacking: Lacking,
        stop: Callable[[], bool],
        timing: Timing,
    ) -> Iterator[Prepared]:
        waiting: deque[_Waiting] = deque()
        ahead = max(2 * self.batch_size, 2 * self._threads)
        bytes_ahead = 0
        remaining = iter(files)
        try:
            while True:
                while len(waiting) < ahead and bytes_ahead < BYTES_AHEAD and not stop():
                    file = next(remaining, None)
                    if file is None:
                        break
                    reading = readers.submit(self._read, file) if is_elsewhere(file) else None
                    size = (file.size or self._usual_size) if reading else 0
                    waiting.append(_Waiting(pool.submit(self.prepare, file, lacking, reading), reading, size))
                    bytes_ahead += size
                    if reading:
                        ahead = max(ahead, 2 * READS_AT_ONCE)
                if not waiting:
                    return
                start = time.perf_counter()
                first = waiting.popleft()
                prepared = first.prepared.result()
                bytes_ahead -= first.size
                timing.wait += time.perf_counter() - start
                yield prepared
        finally:
            for one in waiting:
                one.cancel()

    def _read(self, file: FoundFile) -> bytes:
        data = read_image(file, max_bytes=self._options.max_bytes)
        self._usual_size = max(len(data), self._usual_size // 2)
        return data

    def prepare(self, file: FoundFile, lacking: Lacking, reading: Future[bytes] | None = None) -> Prepared:
        """Read a file, unless `reading` does, and decode it: the inputs that the models which lack its content take."""
        timing = Timing()
        sha256 = None
        try:
            with _timed(timing, "read"):
                data = reading.result() if reading else self._read(file)
                sha256 = hashlib.sha256(data).digest()
            wanted = lacking(sha256)
            if not wanted:
                return Prepared(file, sha256, timing=timing)
            with _timed(timing, "decode"):
                decoded, inputs = self._decoded(data, wanted)
            size = decoded.width, decoded.height
            return Prepared(file, sha256, size, inputs, wanted, note=decoded.note, timing=timing)
        except ImageRejected as rejected:
            return Prepared(file, sha256, rejected=rejected, timing=timing)
        except (OSError, MemoryError) as error:
            return Prepared(file, sha256, unread=_reason(error), timing=timing)

    def embed_bytes(self, data: bytes) -> dict[str, np.ndarray]:
        """The raw embedding float32 (dim,) of one image file's bytes, by fingerprint. Raises ImageRejected."""
        _, inputs = self._decoded(data, frozenset(target.fingerprint for target in self._targets))
        return {t.fingerprint: self.embed(t, [inputs[self.input_key(t.model)]])[0] for t in self._targets}

    def _decoded(self, data: bytes, wanted: frozenset[str]) -> tuple[Pixels, dict[object, Any]]:
        """The pixels for each way of preprocessing among the wanted models; models that agree share them."""
        models = {self.input_key(t.model): t.model for t in self._targets if t.fingerprint in wanted}
        asked = [model.preprocessing for model in models.values()]
        decoded = decode_apart(data, self._options, shortest=self._shortest, wanted=asked)
        made: Iterable[Any] = decoded.arrays
        if self._options.decode == "reference":
            made = map(_reference, models.values(), decoded.arrays)
        return decoded, dict(zip(models, made, strict=True))

    def input_key(self, model: EmbeddingModel) -> object:
        """Models with equal keys take the same pixels."""
        if self._options.decode == "reference":
            return model.spec.backend, model.preprocessing
        return model.preprocessing.geometry

    def embed(self, target: Target, inputs: Sequence[Any]) -> np.ndarray:
        """Raw embeddings, float32 (len(inputs), dim)."""
        return self.start(target, inputs)()

    def start(self, target: Target, inputs: Sequence[Any]) -> Collect:
        """Ask for the embeddings of `inputs`; a GPU makes them while the caller goes on, and collects them later."""
        try:
            return self._forward(target.model, inputs)
        except RuntimeError as error:
            if len(inputs) == 1 or not _out_of_memory(error):
                raise
        half = (len(inputs) + 1) // 2
        self.batch_size = min(self.batch_size, half)
        _free(target.model.device)
        halves = np.concatenate([self.embed(target, inputs[:half]), self.embed(target, inputs[half:])])
        return lambda: halves

    def embedded(self, target: Target, images: int) -> None:
        self._on_embedded(target.model.spec.name, images)

    def _forward(self, model: EmbeddingModel, inputs: Sequence[Any]) -> Collect:
        import torch

        feed = self._feeds[model.device]
        with torch.inference_mode():
            if self._options.decode == "reference":
                batch = feed.to_device(torch.stack(list(inputs)).to(model.dtype))
            else:
                batch = normalize(feed.to_device(_stacked(inputs)), model.preprocessing, model.dtype)
            return feed.from_device(model.encode_image(batch))

    def ahead(self, target: Target) -> int:
        """How many batches may be on their way while the next is made ready."""
        return self._feeds[target.model.device].ahead

    @property
    def targets(self) -> Sequence[Target]:
        return self._targets


class _Shard:
    """The state of one shard: contents so far, and the images that wait for a full batch of each model."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.result = Result()
        self._known: dict[bytes, int] = {}
        self._waiting: dict[str, list[tuple[int, Any]]] = {t.fingerprint: [] for t in pipeline.targets}
        self._begun: dict[str, deque[tuple[np.ndarray, Collect]]] = {t.fingerprint: deque() for t in pipeline.targets}
        self._done: dict[str, list[Vectors]] = {t.fingerprint: [] for t in pipeline.targets}

    def add(self, prepared: Prepared) -> None:
        self.result.timing.add(prepared.timing)
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
        for target in self._pipeline.targets:
            self._flush(target, 1)
            self._collect(target, 0)
        self.result.harvest.vectors = {f: _joined(done) for f, done in self._done.items() if done}
        return self.result

    def _reject(self, prepared: Prepared, rejected: ImageRejected) -> None:
        failure = Failure(prepared.file.absolute, prepared.sha256, rejected.stage, rejected.reason)
        self.result.harvest.failures.append(failure)

    def _place(self, prepared: Prepared, sha256: bytes) -> None:
        """A content met for the first time, and not wholly stored, gets an index; a copy of one only its name."""
        harvest = self.result.harvest
        if sha256 in self._known or not (prepared.wanted or prepared.rejected):
            harvest.copies.append((prepared.file, sha256))
            return
        index = self._known[sha256] = len(harvest.contents)
        harvest.contents.append(Content(prepared.file, sha256, *prepared.size))
        for target in self._pipeline.targets:
            if target.fingerprint in prepared.wanted:
                key = self._pipeline.input_key(target.model)
                self._waiting[target.fingerprint].append((index, prepared.inputs[key]))
                self._flush(target, self._pipeline.batch_size)

    def _flush(self, target: Target, least: int) -> None:
        waiting = self._waiting[target.fingerprint]
        while len(waiting) >= least and waiting:
            batch = waiting[: self._pipeline.batch_size]
            del waiting[: len(batch)]
            start = time.perf_counter()
            collect = self._pipeline.start(target, [pixels for _, pixels in batch])
            self._spent(target, start)
            self._begun[target.fingerprint].append((np.array([index for index, _ in batch]), collect))
            self._collect(target, self._pipeline.ahead(target))

    def _collect(self, target: Target, left: int) -> None:
        """Take the embeddings of what was begun, but for `left` batches, with which the device goes on."""
        begun = self._begun[target.fingerprint]
        while len(begun) > left:
            index, collect = begun.popleft()
            start = time.perf_counter()
            values = collect()
            self._spent(target, start)
            self._keep(target, index, values)

    def _spent(self, target: Target, start: float) -> None:
        self.result.timing.add(Timing(models={target.model.spec.name: time.perf_counter() - start}))

    def _keep(self, target: Target, index: np.ndarray, values: np.ndarray) -> None:
        finite = np.isfinite(values).all(axis=1)
        for i in index[~finite]:
            content = self.result.harvest.contents[i]
            precision = str(target.model.dtype).removeprefix("torch.")
            reason = f"{target.model.spec.name} in {precision} gave a vector that is not finite"
            self.result.harvest.failures.append(
                Failure(
                    content.file.absolute, content.sha256, "embed", reason, target.fingerprint, target.model.spec.name
                )
            )
        self._done[target.fingerprint].append(Vectors(index[finite], values[finite]))
        self._pipeline.embedded(target, int(finite.sum()))


class _timed:  # noqa: N801 - reads as a function
    """Add the seconds spent in a block to one stage of a timing."""

    def __init__(self, timing: Timing, stage: str) -> None:
        self._timing, self._stage = timing, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._start
        setattr(self._timing, self._stage, getattr(self._timing, self._stage) + spent)


class Guarded:
    """A function that several threads may call, one at a time."""

    def __init__(self, function: Lacking) -> None:
        self._function = function
        self._lock = threading.Lock()

    def __call__(self, sha256: bytes) -> frozenset[str]:
        with self._lock:
            return self._function(sha256)


def _reference(model: EmbeddingModel, resized: np.ndarray) -> torch.Tensor:
    from PIL import Image

    try:
        return model.reference_preprocess(Image.fromarray(resized))
    except MemoryError:
        raise
    except Exception as error:
        raise ImageRejected("preprocess", f"{type(error).__name__}: {error}") from error


def _stacked(inputs: Sequence[np.ndarray]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.stack(inputs))


def _joined(done: Sequence[Vectors]) -> Vectors:
    return Vectors(np.concatenate([v.index for v in done]), np.concatenate([v.values for v in done]))


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _free(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to read or decode it now"
    return error.strerror or str(error)

"""Decode once, embed with every model of this worker, hand over rows."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pixelmill import watch
from pixelmill.embedding.transfer import Collect, Feed
from pixelmill.errors import ImageRejected
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.preprocess import normalize
from pixelmill.images.sandbox import Pixels, decode_in_sandbox
from pixelmill.models.base import EmbeddingModel
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import is_elsewhere, read_image
from pixelmill.store.rows import Content, Failure, ShardRows, Vectors
from pixelmill.watch import LOOK, Hang, LeftBehind, RunningClock, Threads, begin, go_on, hanging, leave, wait_for

if TYPE_CHECKING:
    import torch

READS_AT_ONCE = 32
"""Images elsewhere that are read at once: each waits for a server, not for this machine."""
BYTES_AHEAD = 256 << 20
"""Once so many bytes of images elsewhere are asked for, or wait to be decoded, no more are."""
OVERTIME_SECONDS = 10.0
"""What is being read or decoded when the deadline comes gets so long to be finished."""

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
    """What a shard gave. `unread` are files that could not be read this time but may be later, with the reason; of
    these `hung` did not answer, or lie where others do not; `noted` those that were taken although something is wrong
    with them, with what."""

    rows: ShardRows = field(default_factory=ShardRows)
    timing: Timing = field(default_factory=Timing)
    unread: list[tuple[FoundFile, str]] = field(default_factory=list)
    noted: list[tuple[FoundFile, str]] = field(default_factory=list)
    hung: list[Hang] = field(default_factory=list)
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
    hang: Hang | None = None
    timing: Timing = field(default_factory=Timing)


class _Doing:
    """What becomes of a file now, and since when on the clock of its shard; None before somebody takes it up."""

    def __init__(self, clock: RunningClock) -> None:
        self._clock = clock
        self.stage = "read"
        self.since: float | None = None
        self.left = False

    def begin(self, stage: str) -> None:
        if self.left:
            raise LeftBehind
        self.stage, self.since = stage, self._clock.last


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file on its way: `reading` is None for one that is read where it is decoded, and `size` 0; else `size` is its
    bytes, or about those of the last ones."""

    file: FoundFile
    prepared: Future[Prepared]
    reading: Future[bytes] | None
    size: int
    doing: _Doing

    def cancel(self) -> None:
        self.prepared.cancel()
        if self.reading:
            self.reading.cancel()


class _Ways:
    """The threads of one run, what it asks, and how long it waits for a file."""

    def __init__(
        self, pool: Threads, readers: Threads, lacking: Lacking, stop: Callable[[], bool], decoding: float
    ) -> None:
        """`decoding`: seconds that a picture may take more than a file, since large ones take turns."""
        self._decoding = decoding
        self.pool = pool
        self.readers = readers
        self.lacking = lacking
        self.stop = stop
        self.clock = RunningClock()
        self._over: float | None = None

    def is_over(self) -> bool:
        """Whether no more files are to be begun. To be asked every LOOK while one is waited for."""
        now = self.clock.seconds()
        if self._over is None and self.stop():
            self._over = now
        return self._over is not None

    def is_enough(self, doing: _Doing) -> bool:
        """Whether a file hangs."""
        if self._over is not None:
            return self.clock.last - self._over >= OVERTIME_SECONDS
        patience = watch.SILENT_SECONDS + (self._decoding if doing.stage == "decode" else 0.0)
        return doing.since is not None and self.clock.last - doing.since >= patience


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
        self._shard: _Shard | None = None
        self.batch_size = batch_size
        self._shortest = max((t.model.preprocessing.resize for t in targets), default=None)
        self._feeds = {target.model.device: Feed(target.model.device) for target in targets}

    def run(self, files: Iterable[FoundFile], lacking: Lacking, *, stop: Callable[[], bool] = lambda: False) -> Result:
        """Embed `files`, until they end or `stop` says so; what was read by then is finished.

        A file that does not answer is left: it is among the unread. Where many do not, the others of their source are
        left at once.
        """
        self._shard = shard = _Shard(self)
        with Threads(READS_AT_ONCE, "read") as readers, Threads(self._threads, "decode") as pool:
            ways = _Ways(pool, readers, lacking, stop, 2 * self._threads * self._options.max_seconds)
            for prepared in self._prepared(ways, files, shard.result.timing):
                shard.add(prepared)
        return shard.finish()

    def so_far(self) -> Result:
        """What the last run has embedded, if it was left because a model hangs."""
        return self._shard.so_far() if self._shard else Result()

    def _prepared(self, ways: _Ways, files: Iterable[FoundFile], timing: Timing) -> Iterator[Prepared]:
        waiting: deque[_Waiting] = deque()
        ahead = max(2 * self.batch_size, 2 * self._threads)
        bytes_ahead = 0
        remaining = iter(files)
        try:
            while True:
                while len(waiting) < ahead and bytes_ahead < BYTES_AHEAD and not ways.stop():
                    file = next(remaining, None)
                    if file is None:
                        break
                    waiting.append(self._asked(file, ways))
                    bytes_ahead += waiting[-1].size
                    if waiting[-1].reading:
                        ahead = max(ahead, 2 * READS_AT_ONCE)
                if not waiting:
                    return
                start = time.perf_counter()
                first = waiting.popleft()
                prepared = self._awaited(first, ways)
                bytes_ahead -= first.size
                timing.wait += time.perf_counter() - start
                if prepared:
                    yield prepared
        finally:
            for one in waiting:
                one.cancel()

    def _asked(self, file: FoundFile, ways: _Ways) -> _Waiting:
        doing = _Doing(ways.clock)
        reading = ways.readers.submit(self._read, file) if is_elsewhere(file) else None
        size = (file.size or self._usual_size) if reading else 0
        prepared = ways.pool.submit(self.prepare, file, ways.lacking, reading, doing)
        return _Waiting(file, prepared, reading, size, doing)

    def _awaited(self, one: _Waiting, ways: _Ways) -> Prepared | None:
        """What became of a file, were it that it hangs; None for one that nobody took up before the end."""
        begin("read", one.file.absolute, one.file.source)
        while not wait_for(one.prepared, LOOK):
            if ways.is_over() and one.prepared.cancel():
                return None
            if ways.is_enough(one.doing):
                return self._left(one, ways)
        return one.prepared.result()

    def _left(self, one: _Waiting, ways: _Ways) -> Prepared | None:
        """A file that hangs, left for another time; other threads take the place of those that wait for it. None for a
        picture that is being decoded when the time is over: that has a clock of its own, and does not hang."""
        seconds = ways.clock.last - (one.doing.since or 0.0)
        hang = Hang(one.doing.stage, one.file.absolute, one.file.source, seconds=seconds)
        one.doing.left = True
        if ways.is_over() and hang.stage == "decode":
            return None
        leave(hang, one.prepared)
        ways.pool.replace()
        if one.reading and not one.reading.done():
            ways.readers.replace()
        return Prepared(one.file, unread=f"stage {hang.stage!r} had no answer for {seconds:.0f} s", hang=hang)

    def _read(self, file: FoundFile) -> bytes:
        data = read_image(file, max_bytes=self._options.max_bytes)
        self._usual_size = max(len(data), self._usual_size // 2)
        return data

    def prepare(
        self, file: FoundFile, lacking: Lacking, reading: Future[bytes] | None = None, doing: _Doing | None = None
    ) -> Prepared:
        """Read a file, unless `reading` does, and decode it: the inputs that the models which lack its content take."""
        timing = Timing()
        sha256 = None
        doing = doing or _Doing(RunningClock())
        doing.begin("read")
        if len(hanging(file.source)) >= self._threads:
            return Prepared(file, unread="its source does not answer: others of it were waited for in vain")
        try:
            with _timed(timing, "read"):
                data = reading.result() if reading else self._read(file)
                sha256 = hashlib.sha256(data).digest()
            doing.begin("decode")
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
        decoded = decode_in_sandbox(data, self._options, shortest=self._shortest, wanted=asked)
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
        for target in self._pipeline.targets:
            self._flush(target, 1)
            self._collect(target, 0)
        return self.so_far()

    def so_far(self) -> Result:
        """What is done, whatever is under way."""
        self.result.rows.vectors = {f: _joined(done) for f, done in self._done.items() if done}
        return self.result

    def _reject(self, prepared: Prepared, rejected: ImageRejected) -> None:
        failure = Failure(prepared.file.absolute, prepared.sha256, rejected.stage, rejected.reason)
        self.result.rows.failures.append(failure)

    def _place(self, prepared: Prepared, sha256: bytes) -> None:
        """A content met for the first time, and not wholly stored, gets an index; a copy of one only its name."""
        rows = self.result.rows
        if sha256 in self._known or not (prepared.wanted or prepared.rejected):
            rows.copies.append((prepared.file, sha256))
            return
        index = self._known[sha256] = len(rows.contents)
        rows.contents.append(Content(prepared.file, sha256, *prepared.size))
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
            begin("embed", f"{target.model.spec.name} with {len(batch)} images on {target.model.device}")
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
            begin("embed", f"{target.model.spec.name} with {len(index)} images on {target.model.device}")
            values = collect()
            go_on()
            self._spent(target, start)
            self._keep(target, index, values)

    def _spent(self, target: Target, start: float) -> None:
        self.result.timing.add(Timing(models={target.model.spec.name: time.perf_counter() - start}))

    def _keep(self, target: Target, index: np.ndarray, values: np.ndarray) -> None:
        finite = np.isfinite(values).all(axis=1)
        for i in index[~finite]:
            content = self.result.rows.contents[i]
            precision = str(target.model.dtype).removeprefix("torch.")
            reason = f"{target.model.spec.name} in {precision} gave a vector that is not finite"
            self.result.rows.failures.append(
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

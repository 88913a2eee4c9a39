"""Files on their way to the models: read and prepared by threads, some ahead and in order; one that hangs is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from pixelmill.embedding.inputs import Inputs, Prepared
from pixelmill.embedding.targets import MissingMatrices
from pixelmill.images.decode import DecodeOptions
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import is_elsewhere, read_image
from pixelmill.watch import calls
from pixelmill.watch.calls import begin
from pixelmill.watch.clocks import LOOK, RunningClock
from pixelmill.watch.hangs import Hang, LeftBehind, hanging, leave
from pixelmill.watch.threads import Threads, wait_for

READS_AT_ONCE = 32
"""Images elsewhere that are read at once: each waits for a server, not for this machine."""
BYTES_AHEAD = 256 << 20
"""Once so many bytes of images elsewhere are asked for, or wait to be decoded, no more are."""
OVERTIME_SECONDS = 10.0
"""What is being read or decoded when the deadline comes gets so long to be finished."""


class Reader:
    """Reads files, by `read` where it is given, and has them prepared, each with a process that decodes."""

    def __init__(
        self, inputs: Inputs, options: DecodeOptions, *, threads: int,
        read: Callable[[FoundFile], bytes] | None = None,
    ) -> None:  # fmt: skip
        self._read_bytes = read or partial(read_image, max_bytes=options.max_bytes)
        self._inputs = inputs
        self._options = options
        self._threads = threads
        self._usual_size = 1 << 20

    def prepared(
        self, files: Iterable[FoundFile], missing: MissingMatrices, *, ahead: int, stop: Callable[[], bool]
    ) -> Generator[Prepared, None, None]:
        """What becomes of `files`, in their order, until they end or `stop` says so; what was read by then is finished.

        At least `ahead` files are on their way at once, few of them decoded: memory does not grow with their number. A
        file that does not answer is left: it is among the unread. Where many do not, the others of their source are
        left at once. Whoever does not take all closes the iterator.
        """
        with Threads(READS_AT_ONCE, "read") as readers, Threads(self._threads, "decode") as pool:
            patience = _Patience(stop, decoding=2 * self._threads * self._options.max_seconds)
            queue = _Queue(readers, pool, patience, most=max(ahead, 2 * self._threads))
            remaining = iter(files)
            try:
                while True:
                    while queue.has_room() and not stop() and (file := next(remaining, None)) is not None:
                        self._ask(file, missing, queue)
                    if not queue:
                        return
                    if (prepared := queue.first()) is not None:
                        yield prepared
            finally:
                queue.cancel()

    def prepare(
        self, file: FoundFile, missing: MissingMatrices, *,
        reading: Future[bytes] | None = None, begin: Callable[[str], None] = lambda _stage: None,
    ) -> Prepared:  # fmt: skip
        """Read a file, unless `reading` does, and decode it. `begin` is told before each of the stages."""
        begin("read")
        if len(hanging(file.source)) >= self._threads:
            return Prepared(file, unread="its source does not answer: others of it were waited for in vain")
        read = reading.result if reading else partial(self._read, file)
        return self._inputs.prepare(file, read, missing, partial(begin, "decode"))

    def _ask(self, file: FoundFile, missing: MissingMatrices, queue: _Queue) -> None:
        step = _Step(queue.patience.clock)
        reading = queue.readers.submit(self._read, file) if is_elsewhere(file) else None
        size = (file.size or self._usual_size) if reading else 0
        prepare = partial(self.prepare, file, missing, reading=reading, begin=step.begin)
        queue.add(_Waiting(file, queue.pool.submit(prepare), reading, size, step))

    def _read(self, file: FoundFile) -> bytes:
        data = self._read_bytes(file)
        self._usual_size = max(len(data), self._usual_size // 2)
        return data


class _Step:
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
    step: _Step

    def cancel(self) -> None:
        self.prepared.cancel()
        if self.reading:
            self.reading.cancel()


class _Patience:
    """How long a file is waited for, and whether more are begun."""

    def __init__(self, stop: Callable[[], bool], *, decoding: float) -> None:
        """`decoding`: seconds that a picture may take more than a file, since large ones take turns."""
        self.clock = RunningClock()
        self._stop = stop
        self._decoding = decoding
        self._over: float | None = None

    def is_over(self) -> bool:
        """Whether no more files are to be begun. To be asked every LOOK while one is waited for."""
        now = self.clock.seconds()
        if self._over is None and self._stop():
            self._over = now
        return self._over is not None

    def is_enough(self, step: _Step) -> bool:
        """Whether a file hangs."""
        if self._over is not None:
            return self.clock.last - self._over >= OVERTIME_SECONDS
        most = calls.SILENT_SECONDS + (self._decoding if step.stage == "decode" else 0.0)
        return step.since is not None and self.clock.last - step.since >= most


class _Queue:
    """The files on their way, in order, and the threads that are at them."""

    def __init__(self, readers: Threads, pool: Threads, patience: _Patience, *, most: int) -> None:
        self.readers = readers
        self.pool = pool
        self.patience = patience
        self._most = most
        self._bytes = 0
        self._waiting: deque[_Waiting] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def has_room(self) -> bool:
        """Whether another file may be asked for."""
        return len(self._waiting) < self._most and self._bytes < BYTES_AHEAD

    def add(self, one: _Waiting) -> None:
        self._waiting.append(one)
        self._bytes += one.size
        if one.reading:
            self._most = max(self._most, 2 * READS_AT_ONCE)

    def first(self) -> Prepared | None:
        """What became of the first file, were it that it hangs; None for one that nobody took up before the end."""
        one = self._waiting.popleft()
        prepared = self._awaited(one)
        self._bytes -= one.size
        return prepared

    def cancel(self) -> None:
        for one in self._waiting:
            one.cancel()

    def _awaited(self, one: _Waiting) -> Prepared | None:
        begin("read", one.file.absolute, one.file.source)
        while not wait_for(one.prepared, LOOK):
            if self.patience.is_over() and one.prepared.cancel():
                return None
            if self.patience.is_enough(one.step):
                return self._left(one)
        return one.prepared.result()

    def _left(self, one: _Waiting) -> Prepared | None:
        """A file that hangs, left for another time; other threads take the place of those that wait for it. None for a
        picture that is being decoded when the time is over: that has a clock of its own, and does not hang."""
        seconds = self.patience.clock.last - (one.step.since or 0.0)
        hang = Hang(one.step.stage, one.file.absolute, one.file.source, seconds=seconds)
        one.step.left = True
        if self.patience.is_over() and hang.stage == "decode":
            return None
        leave(hang, one.prepared)
        self.pool.replace()
        if one.reading and not one.reading.done():
            self.readers.replace()
        return Prepared(one.file, unread=f"stage {hang.stage!r} had no answer for {seconds:.0f} s", hang=hang)

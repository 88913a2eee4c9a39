"""The processes in which pictures are decoded: started, asked, timed, used again, and ended."""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pixelmill.errors import PixelmillError
from pixelmill.watch.ctrl_c import interrupts_blocked

if TYPE_CHECKING:
    from numpy.typing import NDArray

MESSAGE: Final = 1 << 16
"""Most bytes of a request or an answer; pixels and files go through memory that both processes share."""

_KEEP: Final = 80 << 20
"""Shared memory above this many bytes is given back after each picture."""

WAITS: Final = b"waits"
GOES_ON: Final = b"goes on"
STARTED: Final = b"started "
"""What a decoder says when it waits for the turn of a large picture, and when that has come; and when it has started,
with what it could not be `locked` by, as JSON. Waiting and starting cost no time."""

_LOOK: Final = 0.25
"""Every so many seconds a look is taken at what a decoder does that does not answer."""
_ENDING: Final = 10.0
"""Seconds that a process may take to end. One that the kernel does not let go (it waits for a disk) is left alone."""

TOOK_TOO_LONG: Final = -signal.SIGPROF
"""How a process ends that worked for too long."""


class DecodingInterrupted(PixelmillError, OSError):
    """A picture was not decoded for a reason that is not its own: too little memory now, or a killed process. Retry."""


_SHOWN: Final = ("-X", "called=pixelmill.images.decoder")
"""What `ps` has always called these processes: scripts of operators look for it. Python ignores options like this."""


class Ended(Exception):
    """A process that is gone; its exit code, and whether it had started before."""

    def __init__(self, code: int, *, had_started: bool) -> None:
        super().__init__(code)
        self.code = code
        self.had_started = had_started


class _Decoder:
    """One process (`sandbox_process`), a channel to it, and memory shared with it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._memory = os.memfd_create("pixelmill")
        handed = (theirs.fileno(), self._memory, _turns())
        with theirs, interrupts_blocked():
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", *_SHOWN, "-m", "pixelmill.images.sandbox_process", *map(str, handed)],
                pass_fds=handed, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_environment(),
            )  # fmt: skip
        self._channel.settimeout(_LOOK)
        self._waits = True
        self._has_started = False

    def ask(self, data: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
        """The answer to a request about `data`. Raises Ended if the process ends instead, or works for too long."""
        try:
            _write_all(self._memory, data)
            self._channel.send(json.dumps(request).encode())
            received = self._received(request["options"]["max_seconds"])
        except ConnectionError:
            received = b""
        if not received:
            raise Ended(self._exit_code(), had_started=self._has_started)
        answer: dict[str, Any] = json.loads(received)
        return answer, list(self._arrays(answer.get("shapes", ())))

    def rest(self) -> bool:
        """Give back what a large picture took. False after which the process should not be used again."""
        if os.fstat(self._memory).st_size > _KEEP:
            os.ftruncate(self._memory, 0)
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, which reads the end of its channel. One that is busy is ended at once."""
        self._channel.close()
        os.close(self._memory)
        self._process.kill()
        self._exit_code()

    def _received(self, limit: float) -> bytes:
        """What the process answers; nothing if it ended. Raises Ended when it has worked for `limit` seconds."""
        clock = _Clock(self._process.pid)
        while True:
            try:
                received = self._channel.recv(MESSAGE)
            except TimeoutError:
                if not self._waits and clock.seconds() >= limit:
                    raise Ended(TOOK_TOO_LONG, had_started=self._has_started) from None
                continue
            if received.startswith(STARTED) and not self._has_started:
                self._has_started = True
                _lacking.update(json.loads(received.removeprefix(STARTED)))
            elif received not in (WAITS, GOES_ON):
                return received
            self._waits, clock = received == WAITS, _Clock(self._process.pid)

    def _exit_code(self) -> int:
        try:
            return self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL

    def _arrays(self, shapes: Sequence[Sequence[int]]) -> Iterator[NDArray[np.uint8]]:
        offset, most = 0, os.fstat(self._memory).st_size
        for shape in shapes:
            if offset + math.prod(shape) > most:
                raise DecodingInterrupted("the process that decoded it handed over less than it said")
            array = np.empty(shape, dtype=np.uint8)
            view = array.reshape(-1).data
            while view:
                read = os.preadv(self._memory, [view], offset)
                if not read:
                    raise DecodingInterrupted("the process that decoded it handed over less than it said")
                view, offset = view[read:], offset + read
            yield array


class _Clock:
    """How long a process has worked. Time for which it, this process or the machine stood still (Ctrl-Z, a laptop that
    sleeps, a frozen container) is none of it, nor is time for which others had the processors."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._seconds = 0.0
        self._looked = time.monotonic()
        _, self._used = _doings(process)

    def seconds(self) -> float:
        """The seconds so far. To be asked every _LOOK: of what a process slept in between, up to twice that counts."""
        state, used = _doings(self._process)
        now = time.monotonic()
        passed, computed = now - self._looked, used - self._used
        self._seconds += min(passed, 2 * _LOOK) if state == "S" else min(passed, computed)
        self._looked, self._used = now, used
        return self._seconds


def _doings(process: int) -> tuple[str, float]:
    """The state of a process, as `S` for one that waits, and the seconds that it has computed (proc(5), stat)."""
    try:
        state, *numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0.0
    return state, sum(map(int, numbers[10:12])) / os.sysconf("SC_CLK_TCK")


_idle: list[_Decoder] = []
_guard = threading.Lock()
_turn: list[int] = []
_lacking: dict[str, str] = {}


@contextmanager
def a_decoder() -> Iterator[_Decoder]:
    """A process that nobody else uses: one that waits for work, or a new one. One that fails is not used again."""
    with _guard:
        decoder = _idle.pop() if _idle else None
    decoder = decoder or _Decoder()
    try:
        yield decoder
        usable = decoder.rest()
    except BaseException:
        decoder.close()
        raise
    if usable:
        with _guard:
            _idle.append(decoder)
    else:
        decoder.close()


def start_ahead() -> None:
    """Have a process ready for the first picture, which starts while this one loads a model."""
    with a_decoder():
        pass


def not_locked_by() -> dict[str, str]:
    """What the decoders of this process, as far as they have decoded, could not be `locked` by, and why."""
    return dict(_lacking)


def end_idle_decoders() -> None:
    """End the processes that wait for pictures. The next picture starts one anew."""
    with _guard:
        idle = _idle[:]
        _idle.clear()
    for decoder in idle:
        decoder.close()


atexit.register(end_idle_decoders)  # no process is left behind, were it only for somebody else to bury


def _turns() -> int:
    """A file without a name, whose lock large pictures take one after the other in all processes of this one."""
    with _guard:
        if not _turn:
            _turn.append(os.memfd_create("pixelmill-turns"))
        return _turn[0]


def _forget() -> None:
    """A forked process must not talk over the channels of its parent."""
    global _guard
    _guard = threading.Lock()
    _idle.clear()
    _turn.clear()


os.register_at_fork(after_in_child=_forget)


def _environment() -> dict[str, str]:
    """Ours, with the place of this package first: the process does not search the working directory."""
    root = str(Path(__file__).resolve().parents[2])
    path = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # each thread would take memory from the limit
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path)}


def _write_all(descriptor: int, data: bytes) -> None:
    view, offset = memoryview(data), 0
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written

"""The process in the sandbox: decodes one picture at a time, locked in, within limits that the kernel keeps."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pixelmill.errors import ImageRejected
from pixelmill.images import decode, opening
from pixelmill.images.facts import facts_of
from pixelmill.images.locked import lock
from pixelmill.images.preprocess import Preprocessing, resized, scaled
from pixelmill.images.sandbox_pool import GOES_ON, MESSAGE, STARTED, WAITS
from pixelmill.malloc import keep_freed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_BYTES_PER_PIXEL: Final = 24
"""What decoding takes at most, with room: the coefficients of a progressive CMYK JPEG (8), its pixels (4), RGB (3) and,
by reference, a copy turned upright (3); deep grey in floats (4) with three copies of it."""

_COPIES_OF_FILE: Final = 3
_ROOM: Final = 512 << 20
"""Address space for modules loaded on demand, and for threads of a library, which reserve far more than they use."""

_KEPT: Final = 128 << 20
"""Bytes of freed memory that are kept for the next picture: about those of 24 megapixels."""

_LONGEST_REASON: Final = 4000
_STRIP: Final = 4 << 20
"""About so many bytes of a whole picture are copied at once."""
_WHOLE: Final = 25_000_000
_ELONGATED: Final = 100
"""Pictures of more pixels, or of edges more unlike, are resized here, which is slower: memory is limited here."""


def main(channel: socket.socket, memory: int, turns: int) -> None:
    """Answer requests until the channel ends."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    warnings.simplefilter("ignore")  # a damaged file's oddities; what matters is raised
    keep_freed(_KEPT)
    _warm_up()
    base = _address_space()
    lacking = lock()  # from here on no file can be opened, and no module be imported
    with suppress(ConnectionError):  # a parent that is gone, and may have left answers unread
        channel.send(STARTED + json.dumps(lacking).encode())
        while received := channel.recv(MESSAGE):
            request = json.loads(received)
            limits = _Limits(decode.DecodeOptions(**request["options"]), request["bytes"], base, turns, channel)
            channel.send(json.dumps(_answer(request, memory, limits)).encode())


class _Limits:
    """A clock and a limit of address space for one picture; for a large one, when its turn has come, a larger one.

    The clock here counts the processors' time, of all threads; it ends a process whose parent is gone. The parent's own
    counts what one thread took, and what hangs without computing.
    """

    def __init__(self, options: decode.DecodeOptions, size: int, base: int, turns: int, parent: socket.socket) -> None:
        self.options = options
        self._parent = parent
        self._fixed = base + _ROOM + _COPIES_OF_FILE * size
        self._turns = turns
        self.bytes = 0

    def __enter__(self) -> None:
        self._start(min(decode.LARGE, self.options.max_pixels))

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (_hard(), _hard()))

    @contextmanager
    def large(self) -> Iterator[None]:
        """The turn of a large picture: one at a time among all the processes of one parent. Waiting costs no time."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._parent.send(WAITS)
        fcntl.lockf(self._turns, fcntl.LOCK_EX)
        self._parent.send(GOES_ON)
        try:
            self._start(self.options.max_pixels)
            yield
        finally:
            fcntl.lockf(self._turns, fcntl.LOCK_UN)

    def _start(self, pixels: int) -> None:
        self.bytes = self._fixed + _BYTES_PER_PIXEL * pixels
        hard = _hard()
        limit = self.bytes if hard == resource.RLIM_INFINITY else min(self.bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        signal.setitimer(signal.ITIMER_PROF, self.options.max_seconds * len(os.sched_getaffinity(0)))


def _answer(request: dict[str, Any], memory: int, limits: _Limits) -> dict[str, Any]:
    try:
        data = _read_all(memory, request["bytes"])
        with limits:
            picture = decode.decode_image(data, limits.options, shortest=request["shortest"], large=limits.large)
            whole = request.get("whole", False) and _may_leave_whole(picture.image)
            arrays = [] if whole else _made(picture, request)
            facts, broken = None, ""
            if request.get("facts"):
                facts, broken = facts_of(data, picture.format, picture.image, picture.frames, picture.made)
            _hand_over(memory, _strips(picture.image) if whole else arrays)
    except ImageRejected as rejected:
        return {"rejected": [rejected.stage, rejected.reason[:_LONGEST_REASON]]}
    except MemoryError:
        return {"memory": limits.bytes}
    except OSError as error:
        return {"failed": str(error)}
    image = picture.image
    shapes = [(image.height, image.width, 3)] if whole else [array.shape for array in arrays]
    return {
        "frame": asdict(picture.frame), "whole": whole, "shapes": shapes, "note": picture.note, "made": picture.made,
        "facts": facts, "facts_note": broken,
    }  # fmt: skip


def _made(picture: decode.Decoded, request: dict[str, Any]) -> list[NDArray[np.uint8]]:
    """What is asked for of a picture that does not leave whole."""
    try:
        if "longest" in request:
            return [scaled(picture, request["longest"])]
        return [resized(picture, _preprocessing(**one)) for one in request["wanted"]]
    except MemoryError:
        raise
    except Exception as error:
        raise ImageRejected("preprocess", f"{type(error).__name__}: {error}") from error


def _may_leave_whole(image: Image.Image) -> bool:
    return image.width * image.height <= _WHOLE and max(image.size) <= _ELONGATED * min(image.size)


def _strips(image: Image.Image) -> Iterator[NDArray[np.uint8]]:
    import numpy as np

    rows = max(1, _STRIP // (3 * image.width))
    for top in range(0, image.height, rows):
        yield np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def _preprocessing(mean: Sequence[float], std: Sequence[float], **rest: Any) -> Preprocessing:
    return Preprocessing(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]), **rest)


def _hand_over(memory: int, arrays: Iterable[NDArray[np.uint8]]) -> None:
    import numpy as np

    offset = 0
    for array in arrays:
        view = np.ascontiguousarray(array).reshape(-1).data
        while view:
            written = os.pwrite(memory, view, offset)
            view, offset = view[written:], offset + written


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.pread(descriptor, size, 0)
    if len(data) != size:
        raise ImageRejected("read", f"Expected {size:,} bytes from the other process. Got {len(data):,}.")
    return data


def _warm_up() -> None:
    """What pictures need is loaded before the process is locked and its limits are set."""
    import numpy as np
    from PIL import Image

    opening.import_ahead()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).resize((1, 1))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _hard() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[1]


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))

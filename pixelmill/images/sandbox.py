"""Decoding in processes of their own: a decoder that crashes, hangs or eats memory costs one image, never the run."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pixelmill.errors import ImageRejected, PixelmillError
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.facts import are_facts
from pixelmill.images.frame import Frame
from pixelmill.images.preprocess import Preprocessing, pixels
from pixelmill.images.sandbox_pool import TOOK_TOO_LONG, DecodingInterrupted, Ended, a_decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLOUR: Final = 3
"""Times max_pixels: the most that grey pictures may have."""
_FROM_OUTSIDE: Final = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
"""How a process ends that somebody else ended, the kernel included when memory runs out."""


class DecoderUnusable(PixelmillError, RuntimeError):
    """The process that decodes cannot even start."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The picture's size in pixels, upright, and what was made of it, uint8 (height, width, 3) each; what is wrong with
    the file though it can be shown; its `facts` if they were asked for, and what could not be read of its metadata;
    `made` as in `Decoded`."""

    width: int
    height: int
    arrays: tuple[NDArray[np.uint8], ...]
    note: str = ""
    facts: Mapping[str, float | int | str] | None = None
    facts_note: str = ""
    made: str = ""


def decode_in_sandbox(
    data: bytes, options: DecodeOptions, *, shortest: int | None, wanted: Sequence[Preprocessing], facts: bool = False
) -> Pixels:
    """`decode_image` in another process, and for each of `wanted` its `pixels`, made here; with `decode="reference"`,
    the picture `resized` for upstream's own transform instead, which is made there. With `facts`, also what
    `facts.FACTS` lists.

    Safe to call from many threads: each call has a process to itself, which later calls use again. Raises ImageRejected
    for a file that cannot be decoded, that crashes the decoder twice, takes `options.max_seconds`, or needs more memory
    than any picture that the options admit; DecodingInterrupted for what may pass.
    """
    whole = options.decode == "fast" and bool(wanted) and _resizes_fast()
    request = {"shortest": shortest, "whole": whole, "wanted": [asdict(one) for one in wanted], "facts": facts}
    answer = _asked_twice(data, options, request)
    arrays = answer.arrays
    if options.decode == "fast":
        with _resizing():
            given = [(arrays[0], answer.frame)] * len(wanted) if answer.whole else map(_resized, arrays)
            arrays = [pixels(*one, preprocessing) for one, preprocessing in zip(given, wanted, strict=True)]
    return Pixels(*answer.frame.size, tuple(arrays), answer.note, answer.facts, answer.facts_note, answer.made)


def _resizes_fast() -> bool:
    """Whether PyTorch has its quick filters for uint8 on this processor. Its others are slower than Pillow's."""
    import torch

    return torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}


def _resized(array: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Frame]:
    """A picture that was resized there: `pixels` leaves it as it is, and crops it."""
    height, width, _ = array.shape
    return array, Frame(width, height)


@contextmanager
def _resizing() -> Iterator[None]:
    """What resizing raises, as what it means for the picture."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):  # PyTorch's is a RuntimeError
            raise DecodingInterrupted("not enough memory to resize it now") from error
        raise ImageRejected("preprocess", f"{type(error).__name__}: {error}") from error


def scaled_in_sandbox(data: bytes, options: DecodeOptions, *, longest: int) -> Pixels:
    """The whole picture, its longer edge scaled down to `longest` pixels if it has more; for people's eyes, not for
    models. Safe to call, and raises, like `decode_in_sandbox`."""
    answer = _asked_twice(data, options, {"shortest": max(1, longest // 4), "longest": longest})
    return Pixels(*answer.frame.size, tuple(answer.arrays))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a decoder made: the whole picture, or what was asked for of it; and what it told beside it."""

    frame: Frame
    whole: bool
    arrays: list[NDArray[np.uint8]]
    note: str
    facts: Mapping[str, float | int | str] | None
    facts_note: str
    made: str


def _asked_twice(data: bytes, options: DecodeOptions, wanted: dict[str, Any]) -> _Answer:
    request = {"bytes": len(data), "options": asdict(options), **wanted}
    try:
        return _asked(data, request)
    except _Crashed:  # perhaps the fault of the picture before, if that left the process damaged
        try:
            return _asked(data, request)
        except _Crashed as crash:
            raise ImageRejected("decode", f"The decoder crashed at it ({crash}).") from crash


class _Crashed(Exception):
    """A process that died at a picture, by its own fault."""


def _asked(data: bytes, request: dict[str, Any]) -> _Answer:
    try:
        with a_decoder() as decoder, _understood():
            found = _read(*decoder.ask(data, request), request)
    except Ended as ended:
        raise _meant(ended, request["options"]["max_seconds"]) from None
    if isinstance(found, Exception):
        raise found
    return found


def _meant(ended: Ended, limit: float) -> Exception:
    """What it means for the picture that the process is gone."""
    if ended.code == TOOK_TOO_LONG:
        return ImageRejected("decode", f"Decoding took longer than {limit:g} s (max_seconds).")
    if ended.code in _FROM_OUTSIDE:
        name = signal.Signals(-ended.code).name
        return DecodingInterrupted(f"the process that decoded it was ended by {name}: too little memory?")
    if ended.code >= 0 and not ended.had_started:
        return DecoderUnusable(
            f"Expected a process to decode pictures. It ended with exit code {ended.code}; its own words are above."
        )
    return _Crashed(signal.Signals(-ended.code).name if ended.code < 0 else f"exit code {ended.code}")


@contextmanager
def _understood() -> Iterator[None]:
    """What a process says that a picture has taken over may be anything."""
    try:
        yield
    except PixelmillError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ImageRejected("decode", f"The decoder's answer does not fit together ({error!r:.200}).") from error


def _read(answer: dict[str, Any], arrays: list[NDArray[np.uint8]], request: dict[str, Any]) -> _Answer | Exception:
    """What a decoder answers, or why it has none. Raises nearly anything for what is no answer: see `_understood`."""
    if "rejected" in answer:
        stage, reason = map(_text, answer["rejected"])
        return ImageRejected(stage, reason)
    if "memory" in answer:
        return _refused_or_later(int(answer["memory"]))
    if "failed" in answer:
        return DecodingInterrupted(f"the process that decoded it could not hand it over: {_text(answer['failed'])}")
    frame, whole = Frame(**answer["frame"]), answer["whole"] is True
    may_be = all(type(number) is int for number in answer["frame"].values()) and frame.is_sound()
    if not may_be or not _fit([array.shape for array in arrays], frame, whole, request):
        raise ValueError(f"{frame}, {answer['shapes']}")
    if answer["facts"] is not None and not are_facts(answer["facts"]):
        raise ValueError("its facts are none")
    told = _text(answer["note"]), answer["facts"], _text(answer["facts_note"]), _text(answer["made"])
    return _Answer(frame, whole, arrays, *told)


def _fit(shapes: list[tuple[int, ...]], frame: Frame, whole: bool, request: dict[str, Any]) -> bool:
    """Whether these are the pictures that were asked for, of a file that is decoded."""
    if frame.across * frame.down > _COLOUR * request["options"]["max_pixels"]:
        return False
    if whole:
        return shapes == [frame.shape]
    asked = 1 if "longest" in request else len(request["wanted"])
    return len(shapes) == asked and all(len(shape) == 3 and shape[2] == 3 for shape in shapes)


def _text(said: object) -> str:
    """Words that can be kept. Raises TypeError and ValueError for others."""
    if not isinstance(said, str):
        raise TypeError(f"{said!r:.100} is no text")
    said.encode()
    return said


def _refused_or_later(limit: int) -> Exception:
    """After a decoder got no more memory: the picture's fault if the machine has that much to give."""
    if _available() > limit:
        return ImageRejected("decode", f"Decoding it takes more than {limit >> 20:,} MiB of memory.")
    return DecodingInterrupted("not enough memory to decode it now")


def _available() -> int:
    """Bytes of memory that the kernel would give to a new process (proc(5), MemAvailable)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))

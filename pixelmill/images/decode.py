"""From the bytes of an untrusted image file to an upright RGB picture, or to the reason why there is none."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from pixelmill.choices import Background, Decode, Frames
from pixelmill.errors import ImageRejected
from pixelmill.images import frames, raw
from pixelmill.images.colour import to_rgb
from pixelmill.images.frame import Frame, orientation_of, turned
from pixelmill.images.mended import mended
from pixelmill.images.opened import Need
from pixelmill.images.opening import opened
from pixelmill.sources.formats import HEAD, REFUSED, SUPPORTED, describe, kind_of

if TYPE_CHECKING:
    from PIL import Image

    from pixelmill.images.opened import Opened

MARGIN: Final = 5.0
"""Fast decoding never goes below this multiple of the pixels that a model needs. Measured: see docs/decoding.md."""

LARGE: Final = 50_000_000
"""Pictures of more pixels than this are decoded one at a time, so that many at once stay within memory."""

_BOMB_PIXELS_PER_BYTE: Final = 1000
_COLOUR: Final = 3
_large = threading.Lock()


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How files become pictures, and which are too much.

    `decode`: "fast" scales large JPEGs with subsampled colour, as cameras write them, down while decoding
    (docs/decoding.md: at what cosine); "reference" never does.
    `exif_orientation`: turn pictures upright; False leaves them as stored, as the upstream transforms do.
    `background`: what shows through transparent pixels; "none" shows their hidden colours, as `convert("RGB")` does.
    `frames`: of an animation or a document of pages, the "first" picture (of a HEIC the main one) or the "middle" one.
    `max_pixels` admits the largest phone cameras, `max_aspect` (longer by shorter edge) the longest panoramas,
    `max_bytes` is the largest file, `max_seconds` the longest that decoding may take (`decode_in_sandbox`): time for
    which the processes stood still, or others had the processors, does not count.
    """

    decode: Decode = "fast"
    exif_orientation: bool = True
    background: Background = "white"
    frames: Frames = "first"
    max_pixels: int = 200_000_000
    max_aspect: float = 100.0
    max_bytes: int = 1 << 30
    max_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """An RGB picture as its file stores it, perhaps scaled down. `note` says what is wrong with a file that is shown by
    viewers all the same; `format` is what the file is by its content, of which it is one of `frames` pictures;
    `made` is "preview" or "developed" for camera raw."""

    image: Image.Image
    frame: Frame
    note: str = ""
    format: str = ""
    frames: int = 1
    made: str = ""

    @property
    def upright(self) -> Image.Image:
        """The picture as it is to be seen."""
        return turned(self.image, self.frame.orientation)


def decode_image(
    data: bytes, options: DecodeOptions, *, shortest: int | None,
    large: Callable[[], AbstractContextManager[object]] = lambda: _large,
) -> Decoded:  # fmt: skip
    """The picture in `data`; frame 0 of an animation. Safe to call from many threads. Raises ImageRejected.

    `shortest` is the shortest edge, in pixels, that any model resizes to: with `decode="fast"` the picture may come
    scaled down to no less than MARGIN times that. None: full size. `large` gives the turn that pictures of more than
    LARGE pixels wait for. A decoder's own faults are not survived here: see `sandbox.decode_in_sandbox`.
    """
    kind = _kind(data)
    need = Need(shortest, int(MARGIN * shortest) if shortest is not None and options.decode == "fast" else None)
    attempt = partial(_attempt, kind, options=options, need=need, large=large)
    with _rejecting():
        try:
            return attempt(data)
        except (ImageRejected, MemoryError):
            raise
        except Exception:
            if (found := mended(kind, data)) is None:
                raise
            picture = attempt(found.data)
            if found.other is not None and not _same(picture, attempt(found.other)):
                raise
            return replace(picture, note=found.note)


def _attempt(
    kind: str, data: bytes, *, options: DecodeOptions, need: Need,
    large: Callable[[], AbstractContextManager[object]],
) -> Decoded:  # fmt: skip
    picture = opened(kind, data, frames.middle(kind, data) if options.frames == "middle" else 0)
    width, height = picture.size
    check_shape(width, height, picture.bands, len(data), options)
    with large() if width * height > LARGE else nullcontext():
        return replace(_decoded(picture, options, need), format=_format(kind, data), frames=frames.count(kind, data))


def _same(picture: Decoded, other: Decoded) -> bool:
    return picture.frame == other.frame and picture.image.tobytes() == other.image.tobytes()


def _decoded(picture: Opened, options: DecodeOptions, need: Need) -> Decoded:
    loaded = picture.load(need)
    (width, height), factor = loaded.size, loaded.factor
    rgb = to_rgb(loaded.image, background=options.background)
    if need.kept is not None and width * height > LARGE and (again := min(rgb.size) // need.kept) > 1:
        rgb, factor = rgb.reduce(again), factor * again
    orientation = orientation_of(loaded.exif) if loaded.exif is not None else loaded.orientation
    frame = Frame(width, height, factor, orientation if options.exif_orientation else 1)
    return Decoded(rgb, frame, made=loaded.made)


def _kind(data: bytes) -> str:
    head = data[:HEAD]
    kind = kind_of(data)
    if kind == "TIFF" and raw.name_of(data):
        kind = "camera raw"
    if kind in SUPPORTED:
        return kind
    if kind in REFUSED:
        raise ImageRejected("decode", REFUSED[kind])
    raise ImageRejected("decode", f"Expected an image. The file is {describe(head)}." if data else "The file is empty.")


def _format(kind: str, data: bytes) -> str:
    return raw.name_of(data) or kind if kind == "camera raw" else kind


def check_shape(width: int, height: int, bands: int, size: int, options: DecodeOptions) -> None:
    """Raises ImageRejected for a picture of so many pixels, in a file of `size` bytes, as are not decoded. Judged by
    what decoding takes: pixels of one byte, as those of scanned pages, are a third of those of colour."""
    found = f"The image is {width} x {height}"
    if width < 1 or height < 1:
        raise ImageRejected("decode", f"Expected at least one pixel. {found}.")
    most = options.max_pixels * (_COLOUR // bands)
    if width * height > most:
        raise ImageRejected("decode", f"Expected at most {most:,} pixels. {found} = {width * height:,}.")
    if max(width, height) > options.max_aspect * min(width, height):
        raise ImageRejected("decode", f"Expected edges of at most {options.max_aspect:g} to 1. {found}.")
    if width * height * bands > _COLOUR * max(options.max_pixels // 4, _BOMB_PIXELS_PER_BYTE * size):
        words = f"{found} in only {size:,} bytes: a decompression bomb, unless you raise [images] max_pixels"
        raise ImageRejected("decode", f"Expected a picture. {words}.")


@contextmanager
def _rejecting() -> Iterator[None]:
    """What decoders raise at bad input, as ImageRejected.

    They raise nearly anything: OSError, SyntaxError, struct.error, OverflowError, KeyError, zlib.error. As
    `data` is in memory, none of it is the disk's fault. Only MemoryError may pass, and goes through.
    """
    try:
        yield
    except (ImageRejected, MemoryError):
        raise
    except Exception as error:
        raise ImageRejected("decode", _words(error)) from error


def _words(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, ImportError):
        return f"This installation does not read its format ({text})."
    if re.search(
        r"truncated|unexpected end|premature|need_more_input|not enough (image )?data|buffer is not large enough",
        text,
        re.I,
    ):
        return f"The file is cut off: it ends before the picture does ({text})."
    if re.search(r"unsupported|not (yet )?supported|unknown pixel mode|cannot handle", text, re.I):
        return f"Not supported: this variant of the format ({text}). Convert it to JPEG or PNG."
    return f"The file is damaged ({text})."

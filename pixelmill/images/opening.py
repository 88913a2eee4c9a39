"""Each supported format, opened by the program that reads it rightly. What none does is refused with its name."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from pixelmill.images import bmp, hdr, heif, ico, jpeg, jpeg2000, jxl, png, psd, qoi, raw, tiff
from pixelmill.images.frame import turned
from pixelmill.images.opened import Loaded, Need, Opened

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

_PLUGINS: Final = {
    "JPEG": "JpegImagePlugin.JpegImageFile",
    "WEBP": "WebPImagePlugin.WebPImageFile",
    "GIF": "GifImagePlugin.GifImageFile",
    "TIFF": "TiffImagePlugin.TiffImageFile",
    "AVIF": "AvifImagePlugin.AvifImageFile",
    "PPM": "PpmImagePlugin.PpmImageFile",
    "DDS": "DdsImagePlugin.DdsImageFile",
    "TGA": "TgaImagePlugin.TgaImageFile",
}
_LIBRARIES: Final = (
    "brotli", "imagecodecs._imcd", "imagecodecs._jpegxl", "imagecodecs._qoi", "imagecodecs._rgbe", "pi_heif.heif",
    "rawpy",
)  # fmt: skip
_IMPORTED_LATE: Final = (
    "PIL.BmpImagePlugin", "PIL.IcoImagePlugin", "PIL.ImageCms", "PIL.Jpeg2KImagePlugin", "PIL.PngImagePlugin",
    "encodings.ascii", "encodings.latin_1", "encodings.utf_16_be", "encodings.utf_16_le", "multiprocessing",
    "pixelmill.images.tiff_samples",
)  # fmt: skip
"""What openers, and Pillow, import besides when they meet their format."""

_ZEROS: Final = 64


def import_ahead() -> None:
    """Load all modules and libraries that any format takes: a process that decodes may open no file later. One that is
    not installed costs its own format. One thread for each picture is enough, as many are decoded at once."""
    for module in (*(f"PIL.{plugin.partition('.')[0]}" for plugin in _PLUGINS.values()), *_IMPORTED_LATE):
        import_module(module)
    for name in _LIBRARIES:
        with suppress(ImportError):
            import_module(name)
    if heif_options := sys.modules.get("pi_heif.options"):
        heif_options.DECODE_THREADS = 1  # type: ignore[attr-defined]


def opened(kind: str, data: bytes, number: int = 0) -> Opened:
    """A file of a supported kind, of several pictures that of a `number` (0: the first, or the main one). Raises
    ImageRejected for variants that are not supported, and whatever Pillow does for damaged files."""
    if number:
        return _NUMBERED[kind](kind, data, number)
    return _OPENERS.get(kind, _any)(kind, data)


def _any(kind: str, data: bytes) -> Opened:
    return _by_pillow(plugin(kind, data))


def _jpeg(kind: str, data: bytes) -> Opened:
    jpeg.refuse_unsupported(data)
    image = plugin(kind, data)

    def load(need: Need) -> Loaded:
        size, kept = image.size, need.kept
        drafted = image.draft(None, (kept, kept)) if kept is not None and _is_subsampled(image) else None
        image.load()
        _require_whole_jpeg(image, data, kept if drafted else None)
        return Loaded(image, size, round(size[0] / drafted[1][2]) if drafted else 1, image)

    return Opened(image.size, _bands(image), load)


def _require_whole_jpeg(image: ImageFile, data: bytes, need: int | None) -> None:
    """libjpeg only warns of what is missing, and Pillow does not tell: raise OSError."""
    jpeg.require_end(data)
    jpeg.require_no_hole(data)
    jpeg.require_restarts(data)
    if jpeg.may_be_cut(image) and (scans := jpeg.whole_scans(data)) is not None:
        other = plugin("JPEG", jpeg.with_other_rest(scans))
        if need is not None:
            other.draft(None, (need, need))
        if other.tobytes() != image.tobytes():
            raise OSError("truncated: the picture data end before the picture does")


def _png(_: str, data: bytes) -> Opened:
    image = png.opened(data)
    return _by_pillow(image, lambda: png.loaded(image, data))


def _tiff(kind: str, data: bytes, number: int = 0) -> Opened:
    found = tiff.layout(data, number)
    by = tiff.read_by(found)
    tiff.require_strips(found, data)
    if by == "pillow":
        image = plugin(kind, data)
        image.seek(found.page)
        return _by_pillow(image, lambda: _deep_grey(_loaded(image), found.nodata))
    from pixelmill.images import tiff_samples

    def load(_: Need) -> Loaded:
        turn = found.orientation if 1 <= found.orientation <= 8 else 1
        upright = turned(tiff_samples.picture(found, data), turn)
        return Loaded(upright, upright.size)

    deep = found.depth > 8 or found.colours > 1
    return Opened((found.width, found.height), 3 if deep else 1, load)


def _deep_grey(image: Image.Image, nodata: float | None) -> Image.Image:
    from pixelmill.images.colour import grey

    return grey(image, nodata) if image.mode == "F" else image


def _bmp(_: str, data: bytes) -> Opened:
    size, image = bmp.opened(data)
    if image is not None:
        return _by_pillow(image, lambda: bmp.without_empty_alpha(_loaded(image)))
    return Opened(size, 3, lambda _: Loaded(bmp.without_empty_alpha(bmp.picture(data)), size))


def _gif(kind: str, data: bytes) -> Opened:
    image = plugin(kind, data)
    box = image.tile[0].extents if image.tile else None
    return _by_pillow(image, lambda: _on_canvas(_loaded(image), box))


def _on_canvas(image: Image.Image, box: tuple[int, int, int, int] | None) -> Image.Image:
    """What the first frame of an animation leaves open is transparent, as browsers show it; Pillow paints it."""
    from PIL import Image

    if box is None or box == (0, 0, *image.size):
        return image
    canvas = Image.new("RGBA", image.size, (*image.convert("RGB").getpixel((0, 0)), 0))  # type: ignore[misc]
    canvas.paste(image.convert("RGBA").crop(box), box[:2])
    return canvas


def _jpeg2000(_: str, data: bytes) -> Opened:
    found, image = jpeg2000.header(data), jpeg2000.opened(data)
    return _by_pillow(image, lambda: jpeg2000.loaded(image, found, data))


def _ppm(kind: str, data: bytes) -> Opened:
    """Deep grey was scaled to 16 bits by Pillow, whatever its largest value is."""
    image = plugin(kind, data)
    return _by_pillow(image, lambda: _loaded(image).convert("I;16") if image.mode == "I" else _loaded(image))


def _by_pillow(image: ImageFile, load: Callable[[], Image.Image] | None = None) -> Opened:
    def loaded(_: Need) -> Loaded:
        made = load() if load else _loaded(image)
        return Loaded(made, image.size, exif=image)  # plugins that turn pictures themselves know the size only now

    return Opened(image.size, _bands(image), loaded)


def _loaded(image: ImageFile) -> ImageFile:
    image.load()
    return image


def _bands(image: Image.Image) -> int:
    return 1 if image.mode in {"1", "L", "P"} else 3


def _is_subsampled(image: ImageFile) -> bool:
    """Whether it is a JPEG with less colour than light in both directions: 4:2:0 (ITU T.81, A.1.1), as of cameras.
    Scaling costs more of the cosine of others: of grey ones, and of those with more of their colour."""
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])  # id, sampling across, down, table
    return len(layers) == 3 and layers[0][1] > layers[1][1] and layers[0][2] > layers[1][2]


def plugin(kind: str, data: bytes) -> ImageFile:
    """One plugin, called by name: `Image.open` tries others, and warns or fails at a global limit of the host."""
    if kind == "PNG":
        return png.opened(data)
    module, name = _PLUGINS[kind].split(".")
    plugin = getattr(import_module(f"PIL.{module}"), name)
    image = cast("ImageFile", plugin(io.BytesIO(data)))
    image.decodermaxblock = max(len(data), 1)
    return image


def _avif(kind: str, data: bytes) -> Opened:
    image = plugin(kind, data)
    for box, body in jpeg2000.boxes(data):
        if box == b"mdat":
            _require_no_zeros(body)
    return _by_pillow(image)


def _heic(_: str, data: bytes, number: int | None = None) -> Opened:
    found = heif.opened(data)
    index = found.primary_index if number is None else number
    return _once(found[index].size, 1 if found[index].mode == "L" else 3, lambda: heif.loaded(found, index, data))


def _jxl(_: str, data: bytes, number: int = 0) -> Opened:
    found = jxl.header(data)
    return _once(found.size, 1 if found.grey else 3, lambda: jxl.loaded(found, data, number))


def _frame(kind: str, data: bytes, number: int) -> Opened:
    """Of an animation, with what shows through of those before it."""
    first, image = opened(kind, data), plugin(kind, data)

    def load(_: Need) -> Loaded:
        image.seek(number)
        return Loaded(_loaded(image), image.size, exif=image)

    return Opened(first.size, 3, load)


def _psd(_: str, data: bytes) -> Opened:
    found = psd.header(data)
    return _once(found.size, 1 if found.depth == 1 else 3, lambda: psd.loaded(found, data))


def _hdr(_: str, data: bytes) -> Opened:
    return _once(hdr.size(data), 3, lambda: hdr.loaded(data))


def _qoi(_: str, data: bytes) -> Opened:
    return _once(qoi.size(data), 3, lambda: qoi.loaded(data))


def _ico(_: str, data: bytes) -> Opened:
    found = ico.largest(data)
    if not found.is_png:
        return _once(found.size, 3, lambda: ico.bitmap(found))
    return _png("PNG", found.body)


def _once(size: tuple[int, int], bands: int, load: Callable[[], Image.Image]) -> Opened:
    """What is upright, and never scaled down while it is decoded."""

    def loaded(_: Need) -> Loaded:
        image = load()
        return Loaded(image, image.size)

    return Opened(size, bands, loaded)


def _raw(_: str, data: bytes) -> Opened:
    found = raw.opened(data)

    def load(need: Need) -> Loaded:
        return raw.loaded(found, need, partial(_jpeg, "JPEG"))

    return Opened(found.size, 3, load)


def _require_no_zeros(coded: bytes) -> None:
    """Raise OSError for a file that was never wholly copied: AV1 ends in no zeros, and zeros decode."""
    if coded.endswith(bytes(_ZEROS)):
        raise OSError("truncated: zeros stand where there were picture data")


_OPENERS: Final[Mapping[str, Callable[[str, bytes], Opened]]] = {
    "JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "BMP": _bmp, "GIF": _gif, "JPEG2000": _jpeg2000, "PPM": _ppm,
    "AVIF": _avif, "HEIC": _heic, "camera raw": _raw, "JPEG XL": _jxl, "PSD": _psd, "Radiance HDR": _hdr, "QOI": _qoi,
    "ICO": _ico,
}  # fmt: skip
_NUMBERED: Final[Mapping[str, Callable[[str, bytes, int], Opened]]] = {
    "TIFF": _tiff, "HEIC": _heic, "JPEG XL": _jxl, **dict.fromkeys(("GIF", "WEBP", "PNG", "AVIF"), _frame),
}  # fmt: skip

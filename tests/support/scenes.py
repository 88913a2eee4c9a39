"""One small scene, encoded in the kinds of file that decoders meet most."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def scene(width: int = 97, height: int = 64) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


EIGHT_BIT: dict[str, bytes] = {
    "jpeg": encoded(scene(), "JPEG"),
    "jpeg grey": encoded(scene().convert("L"), "JPEG"),
    "jpeg progressive 4:4:4": encoded(scene(), "JPEG", progressive=True, subsampling=0),
    "jpeg cmyk": encoded(scene().convert("CMYK"), "JPEG"),
    "mpo": encoded(scene(), "MPO", save_all=True, append_images=[scene().rotate(180)]),
    "png": encoded(scene(), "PNG"),
    "png grey": encoded(scene().convert("L"), "PNG"),
    "png bilevel": encoded(scene().convert("1"), "PNG"),
    "png palette": encoded(scene().quantize(17), "PNG"),
    "png palette transparent": encoded(scene().quantize(17), "PNG", transparency=3),
    "png rgba": encoded(Image.merge("RGBA", [*scene().split(), scene().getchannel(0)]), "PNG"),
    "png la": encoded(Image.merge("LA", [scene().getchannel(1), scene().getchannel(0)]), "PNG"),
    "png rgb with tRNS": encoded(scene(), "PNG", transparency=(0, 0, 0)),
    "gif": encoded(scene(), "GIF"),
    "gif animated": encoded(scene(), "GIF", save_all=True, append_images=[scene().rotate(180)]),
    "webp": encoded(scene(), "WEBP"),
    "webp animated": encoded(scene(), "WEBP", save_all=True, append_images=[scene().rotate(180)]),
    "bmp": encoded(scene(), "BMP"),
    "tiff": encoded(scene(), "TIFF"),
    "tiff lzw": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "tiff cmyk": encoded(scene().convert("CMYK"), "TIFF"),
    "tiff ycbcr": encoded(scene().convert("YCbCr"), "TIFF"),
    "avif": encoded(scene(), "AVIF"),
    "jpeg 2000": encoded(scene(), "JPEG2000"),
    "ppm": encoded(scene(), "PPM"),
    "pgm": encoded(scene().convert("L"), "PPM"),
}

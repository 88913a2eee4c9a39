"""Pictures, and copies of them that were changed in ways in which copies come about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

ORIGINAL = "original"


def _cropped(picture: Image.Image) -> Image.Image:
    """By 5% of each edge, half of it on either side."""
    x, y = round(picture.width * 0.025), round(picture.height * 0.025)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def _watermarked(picture: Image.Image) -> Image.Image:
    whole = picture.convert("RGBA")
    layer = Image.new("RGBA", whole.size)
    ImageDraw.Draw(layer).text(
        (whole.width // 2, whole.height // 2), "© PIXELMILL", fill=(255, 255, 255, 128), anchor="mm",
        font=ImageFont.load_default(max(10, whole.height // 10)),
    )  # fmt: skip
    return Image.alpha_composite(whole, layer).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda picture: picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS),
    "saved anew": lambda picture: picture,
    "cropped": _cropped,
    "tilted": lambda picture: picture.rotate(3, Image.Resampling.BICUBIC),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "mirrored": ImageOps.mirror,
    "watermarked": _watermarked,
}


def plant(pictures: Iterable[Path], folder: Path) -> None:
    """Each picture as `original/<number>.png`, and its copies as `<change>/<number>.jpg`, at quality 90."""
    for name in (ORIGINAL, *CHANGES):
        (folder / name).mkdir(parents=True)
    for number, path in enumerate(pictures):
        with Image.open(path) as opened:
            cut_out = opened.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", cut_out.size, "white"), cut_out).convert("RGB")
        picture.save(folder / ORIGINAL / f"{number}.png")
        for name, change in CHANGES.items():
            quality = 60 if name == "saved anew" else 90
            change(picture).convert("RGB").save(folder / name / f"{number}.jpg", quality=quality)

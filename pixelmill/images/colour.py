"""Any mode of image as 8-bit RGB: transparency over white, deep samples scaled and not clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_A_LITTLE_OVER: Final = 1.25
_A_LITTLE_UNDER: Final = 0.01
"""A range still holds samples that pass it by so much of it: resampling and sharpening overshoot."""

_BEYOND: Final = 1e30
"""Programs fill what is not known with the largest floats."""

_LOOKED_AT: Final = 1_000_000
_AT_ONCE: Final = 1 << 22
"""So many samples are scaled at once, for each of which floats are held."""


def to_rgb(image: Image.Image, *, background: Literal["white", "none"]) -> Image.Image:
    """An RGB image of the same size. 8-bit images without transparency come out as `image.convert("RGB")`.

    Colour profiles are not applied, as in the upstream transforms.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = grey(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in {"La", "RGBa"}:
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if background == "white" and image.has_transparency_data:
        return _over_white(image)
    image.info.pop("transparency", None)
    return image.convert("RGB")


def grey(image: Image.Image, nodata: float | None = None) -> Image.Image:
    """Deep grey as 8-bit grey, by the full scale of its kind: Pillow's own conversion would clip it to white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray(by_full_scale(values, 16))
    if image.mode == "F":
        return Image.fromarray(by_usual_range(without(nodata, values), (1.0, 255.0, 65535.0)))
    return Image.fromarray(by_usual_range(values, (255.0, 65535.0)))


def without(nodata: float | None, samples: NDArray[Any]) -> NDArray[Any]:
    """Floats with NaN for those that stand for no sample: `nodata`, and what no picture reaches."""
    import numpy as np

    absent = np.abs(samples) >= _BEYOND
    if nodata is not None:
        absent |= samples == samples.dtype.type(nodata)
    return np.where(absent, samples.dtype.type(np.nan), samples) if absent.any() else samples


def by_full_scale(samples: NDArray[Any], bits: int, *, signed: bool = False) -> NDArray[np.uint8]:
    """Integers by what their bits can hold. Signed ones from 0 if nearly none is below it, else from the least there
    can be."""
    full = float((1 << bits) - 1)
    return _scaled(samples, -full - 1 if signed and _low(samples, full) < 0 else 0.0, full)


def by_usual_range(samples: NDArray[Any], usual: Sequence[float]) -> NDArray[np.uint8]:
    """Samples of a kind that has no full scale of its own: by the smallest of the `usual` full scales that holds all
    but a few of them, or holds them but for a little; what is beyond is clipped. If none does, by the largest value, or
    by all that integers of so many bits can hold, if the largest is not far from it.

    From 0, or the least value if more than a few are below it. NaN and infinities are black.
    """
    import numpy as np

    looked_at = _some(samples)
    if not looked_at.size:
        return np.zeros(samples.shape, np.uint8)
    high = percentile(looked_at, 99)
    full = next((scale for scale in usual if high <= _A_LITTLE_OVER * scale), None) or _largest(samples)
    if samples.dtype.kind in "ui" and full >= (most := float(np.iinfo(samples.dtype).max)) / 4:
        full = most
    return _scaled(samples, _low(samples, full), full)


def percentile(values: NDArray[np.float64], share: float) -> float:
    """NumPy's own, of one dimension, to the bit. That one imports masked arrays, which takes 80 ms of each decoder."""
    import numpy as np

    place = share / 100 * (len(values) - 1)
    below = int(place)
    around = [below, min(below + 1, len(values) - 1)]
    low, high = np.partition(values, around)[around].tolist()
    part = place - below
    return float(low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part))


def _low(samples: NDArray[Any], full: float) -> float:
    import numpy as np

    looked_at = _some(samples)
    few = percentile(looked_at, 1) if looked_at.size else 0.0
    return 0.0 if few >= -_A_LITTLE_UNDER * full else float(samples.min(initial=0, where=np.isfinite(samples)))


def _largest(samples: NDArray[Any]) -> float:
    import numpy as np

    return float(samples.max(initial=0, where=np.isfinite(samples)))


def _some(samples: NDArray[Any]) -> NDArray[Any]:
    """A million of the finite samples, evenly spread."""
    import numpy as np

    some = samples.reshape(-1)[:: max(1, samples.size // _LOOKED_AT)]
    finite: NDArray[Any] = some[np.isfinite(some)].astype(np.float64)
    return finite


def _scaled(samples: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """From `low` to `high` as 0 to 255, rounded."""
    import numpy as np

    made = np.empty(samples.shape, np.uint8)
    rows = max(1, _AT_ONCE * len(samples) // max(1, samples.size))
    for top in range(0, len(samples), rows):
        values = samples[top : top + rows].astype(np.float64 if samples.dtype.itemsize > 2 else np.float32)
        values = np.nan_to_num(values, copy=False, nan=low, posinf=low, neginf=low)
        made[top : top + rows] = np.clip((values - low) * (255.0 / (high - low)) + 0.5, 0, 255)
    return made


def _over_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=alpha)
    return white

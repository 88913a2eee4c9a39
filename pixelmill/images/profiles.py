"""Colours that are not sRGB's, as sRGB: by an ICC profile, or by the code points of ITU-T H.273."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""x and y (CIE 1931) of red, green, blue and white."""

LINEAR, PQ, HLG = 8, 16, 18
"""Transfer characteristics (H.273, table 3): light itself, and what is brighter than white (ITU-R BT.2100)."""

_D65: Final = (0.3127, 0.3290)
_SRGB: Final[Chromaticities] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_PRIMARIES: Final[dict[int, Chromaticities]] = {
    1: _SRGB,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
"""H.273, table 2. Those of old television (5 to 7) are near enough to sRGB's, as viewers take them to be."""

_GAMMAS: Final = {4: 2.2, 5: 2.8, LINEAR: 1.0}
"""Of transfer characteristics that are powers. All others that are no brighter than white are shown as sRGB's curve."""

_D50: Final = (0.96422, 1.0, 0.82521)
_BRADFORD: Final = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
"""ICC.1:2022, annex E."""

_MODES: Final = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
_WHITE: Final = 203.0
"""Nits of white paper in pictures brighter than it (ITU-R BT.2408)."""

_BRIGHTEST: Final = 1000.0
_ROWS: Final = 1 << 20
"""About so many pixels are converted at once, for each of which floats are held."""


def by_icc(image: Image.Image, icc: bytes) -> Image.Image:
    """A picture of colours that its profile describes, in sRGB (perceptual intent, as viewers show it). A profile that
    is broken, of other colours than the picture's, or sRGB itself, leaves it as it is."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        wanted = _MODES.get(profile.profile.xcolor_space)
        if (
            wanted is None
            or _without_alpha(image.mode) != wanted
            or "sRGB" in (profile.profile.profile_description or "")
        ):
            return image
        out = image.mode if image.mode == "RGBA" else "RGB"
        alpha = image.getchannel("A") if image.mode == "LA" else None
        made = ImageCms.profileToProfile(
            image.getchannel("L") if alpha else image, profile, ImageCms.createProfile("sRGB"), outputMode=out
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    if made is None:
        return image
    if alpha:
        made.putalpha(alpha)
    made.info.pop("icc_profile", None)
    return made


def by_code_points(image: Image.Image, primaries: int, transfer: int) -> Image.Image:
    """A picture of 8 bits whose colours H.273 names, in sRGB; what it does not name is left as it is."""
    return by_chromaticities(image, chromaticities_of(primaries), transfer)


def by_chromaticities(
    image: Image.Image, of: Chromaticities | None, transfer: int, gamma: float | None = None
) -> Image.Image:
    """As `by_code_points`, of any primaries, and with a power in place of the transfer characteristics."""
    gamma = gamma or _GAMMAS.get(transfer)
    if of is None or _without_alpha(image.mode) != "RGB" or (of == _SRGB and gamma is None):
        return image
    return by_icc(image, icc_of(of, gamma))


@lru_cache(maxsize=8)
def icc_of(of: Chromaticities, gamma: float | None = None) -> bytes:
    """An ICC profile of these primaries and a curve: a power, or sRGB's (ICC.1:2022; version 4.3)."""
    import numpy as np

    columns = (_adapted(of[3]) @ _to_xyz(of)).T
    curve = struct.pack(">4sIHHi", b"para", 0, 0, 0, _fixed(gamma)) if gamma else _SRGB_CURVE
    bodies = [
        (b"desc", _text("RGB")),
        (b"cprt", _text("none")),
        (b"wtpt", _xyz(np.array(_D50))),
        *((name, _xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    at, table, data = 128 + 4 + 12 * len(bodies), b"", b""
    for name, body in bodies:
        table += struct.pack(">4sII", name, at + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(data), b"", 0x04300000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + b"".join(struct.pack(">i", _fixed(value)) for value in _D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(bodies)) + table + data


def chromaticities_of(primaries: int) -> Chromaticities:
    """Of a code point of H.273."""
    return _PRIMARIES.get(primaries, _SRGB)


def toned(samples: NDArray[Any], of: Chromaticities, transfer: int) -> NDArray[np.uint8]:
    """A picture brighter than white, (height, width, 3) of PQ or HLG up to 65,535, as sRGB: what is brighter than 203
    nits is brought below by the curve of ITU-R BT.2390 (5.4.1), each pixel by its brightest colour: hues stay."""

    def light(some: NDArray[Any]) -> NDArray[Any]:
        nits = _nits(some / 65535, transfer)
        made: NDArray[Any] = nits * _share(nits.max(axis=-1, keepdims=True)) / _WHITE
        return made

    return of_light(samples, of, light)


def of_light(
    samples: NDArray[Any], of: Chromaticities, light: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[np.uint8]:
    """A picture (height, width, 3) as sRGB; `light` makes shares of white of some rows of it, as float32."""
    import numpy as np

    matrix = (np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(of)).T.astype(np.float32)
    made = np.empty(samples.shape, np.uint8)
    rows = max(1, _ROWS // max(1, samples.shape[1]))
    for top in range(0, len(samples), rows):
        linear = light(samples[top : top + rows].astype(np.float32)) @ matrix
        linear = np.clip(np.nan_to_num(linear, copy=False, nan=0.0), 0, 1)
        made[top : top + rows] = by_srgb_curve(linear) * 255 + 0.5
    return made


def _nits(signal: NDArray[Any], transfer: int) -> NDArray[Any]:
    """Of a display of 1,000 nits, for HLG (ITU-R BT.2100, tables 4 and 5)."""
    import numpy as np

    if transfer == PQ:
        root = signal ** (1 / 78.84375)
        return 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    light = scene @ np.array([0.2627, 0.6780, 0.0593])
    made: NDArray[Any] = _BRIGHTEST * scene * (np.maximum(light, 1e-6) ** 0.2)[..., None]
    return made


def _share(brightest: NDArray[Any]) -> NDArray[Any]:
    """What the curve leaves of so many nits."""
    import numpy as np

    most, aim = _pq(np.array(_BRIGHTEST)), _pq(np.array(_WHITE))
    told = np.minimum(_pq(brightest) / most, 1)
    high = float(aim / most)
    knee = 1.5 * high - 0.5
    t = np.clip((told - knee) / (1 - knee), 0, 1)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * high
    kept = _nits(np.where(told < knee, told, bent) * most, PQ)
    share: NDArray[Any] = kept / np.maximum(brightest, 1e-6)
    return share


def _pq(nits: NDArray[Any]) -> NDArray[Any]:
    power = (nits / 10000) ** 0.1593017578125
    made: NDArray[Any] = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return made


def by_srgb_curve(linear: NDArray[Any]) -> NDArray[Any]:
    """IEC 61966-2-1."""
    import numpy as np

    made: NDArray[Any] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return made


def _to_xyz(of: Chromaticities) -> NDArray[np.float64]:
    """The matrix from linear RGB to XYZ, white at Y = 1 (SMPTE RP 177)."""
    import numpy as np

    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in of)
    columns = np.stack(colours, axis=1)
    made: NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return made


def _adapted(white: Sequence[float]) -> NDArray[np.float64]:
    """From this white to D50, by Bradford's matrix."""
    import numpy as np

    bradford = np.array(_BRADFORD)
    x, y = white
    cones = (bradford @ np.array(_D50)) / (bradford @ np.array([x / y, 1, (1 - x - y) / y]))
    made: NDArray[np.float64] = np.linalg.inv(bradford) @ np.diag(cones) @ bradford
    return made


def _fixed(value: float) -> int:
    return round(value * 65536)


def _xyz(values: NDArray[Any]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", _fixed(float(value))) for value in values)


def _text(words: str) -> bytes:
    coded = words.encode("utf-16-be")
    return struct.pack(">4sIII4sII", b"mluc", 0, 1, 12, b"enUS", len(coded), 28) + coded


_SRGB_CURVE: Final = struct.pack(
    ">4sIHH5i", b"para", 0, 3, 0, *map(_fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)


def _without_alpha(mode: str) -> str:
    return {"RGBA": "RGB", "LA": "L"}.get(mode, mode)

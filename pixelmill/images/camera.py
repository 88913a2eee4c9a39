"""What a camera wrote of itself, of its clock and of its place, from EXIF's tags; what is no such thing is noted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isfinite, nan
from typing import Final, NamedTuple

from pixelmill.images.exif import Exif
from pixelmill.images.tiff_tags import LONGEST

MISSING_INT: Final = -(2**63)

_KINDS: Final = ("Original", "Digitized", "")
"""When it was taken; when it was made digital; and, of pictures that say neither, when their file was changed, which
some programs for photographs take and others leave."""

_TIME: Final = re.compile(r"(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?(?:\.(\d+))?(.*)", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)|Z", re.ASCII)
_NOTHING: Final = re.compile(r"[\s:/.0-]*")
"""How writers leave a time or an offset open: blanks or zeros between the colons."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STALE: Final = timedelta(minutes=5)
_OFFSETS: Final = frozenset(
    {60 * hours for hours in range(-12, 15)}
    | {-570, -210, -150, 210, 270, 330, 345, 390, 525, 570, 630, 765, 825}
)  # fmt: skip
"""Minutes by which clocks on earth differ from UTC (IANA time zone database, since 1990)."""

_HIGHEST: Final = 100_000.0
_SAID: Final = 40


class _Moment(NamedTuple):
    clock: datetime
    offset: int


def taken(exif: Exif) -> dict[str, int]:
    """`taken_at` and `taken_offset`."""
    for kind in _KINDS:
        if moment := _moment(exif, kind):
            return {
                "taken_at": (moment.clock - _EPOCH) // timedelta(milliseconds=1),
                "taken_offset": _offset(exif, kind, moment),
            }
    return {"taken_at": MISSING_INT, "taken_offset": MISSING_INT}


def _moment(exif: Exif, kind: str) -> _Moment | None:
    """What the camera's clock said, as if it were UTC, with the offset that some programs write behind it."""
    name = f"DateTime{kind}"
    said = exif.text(name)
    if _NOTHING.fullmatch(said):
        return None
    try:
        *clock, fraction, rest = _TIME.fullmatch(said).groups(default="0")  # type: ignore[union-attr]
        time = datetime(*map(int, clock), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except (AttributeError, ValueError):
        exif.broken.append(f"{name} is no time ({said[:_SAID]!r})")
        return None
    digits = re.match(r"[0-9]*", exif.text(f"SubSecTime{kind}"))[0] or fraction  # type: ignore[index]
    return _Moment(time + timedelta(milliseconds=int(digits[:3].ljust(3, "0"))), _minutes(rest.strip()))


def _minutes(said: str) -> int:
    """An offset such as +02:00, in minutes."""
    found = _OFFSET.fullmatch(said)
    if not found:
        return MISSING_INT
    sign, hours, minutes = found.groups(default="0")
    offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1)
    return offset if abs(offset) <= 15 * 60 and int(minutes) < 60 else MISSING_INT


def _offset(exif: Exif, kind: str, moment: _Moment) -> int:
    name = f"OffsetTime{kind}"
    said = exif.text(name)
    if not said or (_NOTHING.fullmatch(said) and not _OFFSET.fullmatch(said)):
        known = moment.offset != MISSING_INT or not kind
        return moment.offset if known else _by_satellite(exif, moment.clock)
    if (offset := _minutes(said)) == MISSING_INT:
        exif.broken.append(f"{name} is no offset ({said[:_SAID]!r})")
    return offset


def _by_satellite(exif: Exif, clock: datetime) -> int:
    """By how much the camera's clock is ahead of the satellites', if that is what a clock on earth may be."""
    day = re.fullmatch(r"(\d{4})[:-](\d\d)[:-](\d\d)", exif.text("GPSDateStamp"))
    hours = exif.numbers.get("GPSTimeStamp", ())
    if not day or len(hours) != 3 or not all(map(isfinite, hours)):
        return MISSING_INT
    try:
        seconds = hours[0] * 3600 + hours[1] * 60 + hours[2]
        ahead = clock - datetime(*map(int, day.groups()), tzinfo=UTC) - timedelta(seconds=seconds)  # type: ignore[arg-type, misc]
    except (ValueError, OverflowError):
        return MISSING_INT
    offset = 15 * round(ahead / timedelta(minutes=15))
    return offset if offset in _OFFSETS and abs(ahead - timedelta(minutes=offset)) <= _STALE else MISSING_INT


def camera(exif: Exif) -> str:
    """Make and model, the make once."""
    make, model = exif.text("Make"), exif.text("Model")
    brands = re.findall(r"\w+", make.casefold())
    if re.findall(r"\w+", model.casefold())[:1] in ([brand] for brand in brands):
        return model
    return f"{make} {model}".strip()[:LONGEST]


def lens(exif: Exif) -> str:
    """The name of the lens, else its focal lengths and widest apertures, as `24-70mm f/2.8`."""
    if name := exif.text("LensModel"):
        return name
    numbers = exif.numbers.get("LensSpecification", ())
    if len(numbers) != 4 or not all(isfinite(n) and n > 0 for n in numbers[:2]):
        return ""
    lengths, apertures = _span(*numbers[:2]), _span(*numbers[2:])
    return f"{lengths}mm f/{apertures}" if apertures else f"{lengths}mm"


def _span(least: float, most: float) -> str:
    if not all(isfinite(n) and n > 0 for n in (least, most)):
        return ""
    return f"{least:g}" if least == most else f"{least:g}-{most:g}"


def place(exif: Exif) -> dict[str, float]:
    """`latitude`, `longitude` and `altitude`. Both zero is what receivers write that know no place."""
    latitude, longitude = _degrees(exif, "GPSLatitude", "NS", 90), _degrees(exif, "GPSLongitude", "EW", 180)
    if not (isfinite(latitude) and isfinite(longitude)) or latitude == longitude == 0:
        latitude = longitude = nan
    return {"latitude": latitude, "longitude": longitude, "altitude": _altitude(exif)}


def _degrees(exif: Exif, name: str, sides: str, most: int) -> float:
    parts = exif.numbers.get(name)
    if parts is None:
        return nan
    side = exif.text(f"{name}Ref")[:1].upper()
    if not side and not any(part > 0 for part in parts):
        return nan
    degrees = sum(part / scale for part, scale in zip(parts, (1, 60, 3600), strict=False))
    if not isfinite(degrees) or not 0 <= degrees <= most or side not in tuple(sides):
        exif.broken.append(f"{name} is no place ({', '.join(f'{part:g}' for part in parts)} {side!r})")
        return nan
    return -degrees if side == sides[1] else degrees


def _altitude(exif: Exif) -> float:
    """Metres above the sea; references 1 and 3 are below it (section 4.6.6.2)."""
    metres = exif.numbers.get("GPSAltitude", (nan,))[0]
    if not isfinite(metres) or abs(metres) > _HIGHEST:
        return nan
    return -abs(metres) if exif.numbers.get("GPSAltitudeRef", (0.0,))[0] in (1.0, 3.0) else metres

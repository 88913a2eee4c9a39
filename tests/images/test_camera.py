"""What a camera wrote of its clock, itself and its place means what photographers' programs take it for."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.images.camera import MISSING_INT, camera, lens, place, taken
from pixelmill.images.exif import Exif

UNHURRIED = settings(deadline=None)  # the machine may be busy
NOON = "2024:07:01 12:00:00"
AT_NOON = int(datetime(2024, 7, 1, 12, tzinfo=UTC).timestamp() * 1000)


def at(said: str, **texts: str) -> tuple[int, int, list[str]]:
    """`taken_at`, `taken_offset` and what is broken, of DateTimeOriginal and others."""
    exif = Exif({"DateTimeOriginal": said, **texts})
    made = taken(exif)
    return made["taken_at"], made["taken_offset"], exif.broken


@UNHURRIED
@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)), st.integers(0, 999))
def test_a_time_is_what_the_clock_showed(clock: datetime, milliseconds: int) -> None:
    """Of the years 1 to 9999, counted as if it were UTC, whatever zone this machine is in."""
    clock = clock.replace(microsecond=0)
    said = f"{clock.year:04}:{clock:%m:%d %H:%M:%S}"
    found, offset, broken = at(said, SubSecTimeOriginal=f"{milliseconds:03}")
    assert found == round((clock - datetime(1970, 1, 1)).total_seconds()) * 1000 + milliseconds
    assert (offset, broken) == (MISSING_INT, [])


@pytest.mark.parametrize(
    ("said", "more", "expected"),
    [
        (NOON, {}, (AT_NOON, MISSING_INT)),
        ("2024-07-01T12:00:00", {}, (AT_NOON, MISSING_INT)),
        ("2024/07/01 12:00", {}, (AT_NOON, MISSING_INT)),
        (NOON, {"SubSecTimeOriginal": "5"}, (AT_NOON + 500, MISSING_INT)),
        (NOON, {"SubSecTimeOriginal": "123456"}, (AT_NOON + 123, MISSING_INT)),
        (NOON, {"SubSecTimeOriginal": "   "}, (AT_NOON, MISSING_INT)),
        (NOON + ".25", {}, (AT_NOON + 250, MISSING_INT)),
        (NOON, {"OffsetTimeOriginal": "+05:45"}, (AT_NOON, 345)),
        (NOON, {"OffsetTimeOriginal": "-0330"}, (AT_NOON, -210)),
        (NOON, {"OffsetTimeOriginal": "Z"}, (AT_NOON, 0)),
        (NOON, {"OffsetTimeOriginal": "+00:00"}, (AT_NOON, 0)),
        (NOON, {"OffsetTimeOriginal": "   :  "}, (AT_NOON, MISSING_INT)),
        (NOON, {"OffsetTime": "+01:00", "OffsetTimeDigitized": "+01:00"}, (AT_NOON, MISSING_INT)),
        (NOON + "+02:00", {}, (AT_NOON, 120)),
        (NOON + "Z", {"OffsetTimeOriginal": "+02:00"}, (AT_NOON, 120)),
        ("", {"DateTimeDigitized": NOON, "SubSecTimeDigitized": "1", "OffsetTimeDigitized": "+01:00"}, (AT_NOON + 100, 60)),
        ("0000:00:00 00:00:00", {"DateTime": NOON, "OffsetTime": "+01:00"}, (AT_NOON, 60)),
        (NOON, {"DateTimeDigitized": "2020:01:01 00:00:00", "DateTime": "2025:01:01 00:00:00"}, (AT_NOON, MISSING_INT)),
        ("", {"DateTimeDigitized": NOON, "DateTime": "2025:01:01 00:00:00"}, (AT_NOON, MISSING_INT)),
        ("    :  :     :  :  ", {}, (MISSING_INT, MISSING_INT)),
        ("0000:00:00 00:00:00", {"OffsetTimeOriginal": "+01:00"}, (MISSING_INT, MISSING_INT)),
    ],
)  # fmt: skip
def test_times_as_cameras_and_programs_write_them(said: str, more: dict[str, str], expected: tuple[int, int]) -> None:
    """The first of: taken, made digital, file changed; its own fraction and its own offset; nothing of it is broken."""
    assert at(said, **more) == (*expected, [])


@pytest.mark.parametrize(
    "said",
    ["0000:01:01 12:00:00", "2023:02:29 12:00:00", "2024:13:01 12:00:00", "2024:00:10 12:00:00", "2024:07:01 24:00:00",
     "2024:07:01 12:60:00", "2024:07:01", "20240701 120000", "yesterday", "1.7.2024 12:00:00"],
)  # fmt: skip
def test_what_no_calendar_has_is_no_time(said: str) -> None:
    """It is missing, and told; the next one counts."""
    assert at(said) == (MISSING_INT, MISSING_INT, [f"DateTimeOriginal is no time ({said!r})"])
    assert at(said, DateTimeDigitized=NOON)[:2] == (AT_NOON, MISSING_INT)


@pytest.mark.parametrize(
    ("day", "hours", "offset"),
    [
        ("2024:07:01", (10, 0, 0), 120), ("2024:07:01", (9, 58, 12.5), 120), ("2024:07:01", (6, 15, 40), 345),
        ("2024:06:30", (22, 0, 0), 840), ("2024:07:02", (0, 0, 0), -720), ("2024:07:01", (12, 0, 0), 0),
        ("2024:07:01", (10, 8, 0), None), ("2024:07:01", (10, 15, 0), None), ("2024:06:30", (12, 0, 0), None),
        ("2024:07:01", (10, float("nan"), 0), None), ("2024:07:01", (1e300, 0, 0), None), ("2024:02:31", (10, 0, 0), None),
        ("", (10, 0, 0), None), ("2024:07:01", (), None), ("2024:07:01", (10,), None),
    ],
)  # fmt: skip
def test_an_offset_by_satellite_is_one_that_is_in_use(day: str, hours: tuple[float, ...], offset: int | None) -> None:
    """Where no tag says it, and the difference is within five minutes of an offset on earth; an old fix is none."""
    exif = Exif({"DateTimeOriginal": NOON, "GPSDateStamp": day}, {"GPSTimeStamp": hours})
    assert taken(exif)["taken_offset"] == (MISSING_INT if offset is None else offset)
    changed = Exif({"DateTime": NOON, "GPSDateStamp": day}, {"GPSTimeStamp": hours})
    assert taken(changed)["taken_offset"] == MISSING_INT


@pytest.mark.parametrize(
    ("make", "model", "name"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"), ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("Apple", "iPhone 15 Pro", "Apple iPhone 15 Pro"), ("EASTMAN KODAK COMPANY", "KODAK DC240", "KODAK DC240"),
        ("LG Electronics", "LG-H870", "LG-H870"), ("HUAWEI", "huawei P30", "huawei P30"), ("SONY", "SONY", "SONY"),
        ("samsung", "SM-G991B", "samsung SM-G991B"), ("Go", "GoPro", "Go GoPro"), ("", "X100", "X100"),
        ("Leica", "", "Leica"), ("", "", ""), ("x" * 200, "y" * 200, "x" * 200 + " " + "y" * 55),
    ],
)  # fmt: skip
def test_a_camera_has_its_make_once(make: str, model: str, name: str) -> None:
    """In front of a model that does not say it itself."""
    assert camera(Exif({"Make": make, "Model": model})) == name


@pytest.mark.parametrize(
    ("texts", "numbers", "name"),
    [
        ({"LensModel": "RF50mm"}, (24, 70, 2.8, 2.8), "RF50mm"), ({}, (24, 70, 2.8, 2.8), "24-70mm f/2.8"),
        ({}, (18, 55, 3.5, 5.6), "18-55mm f/3.5-5.6"), ({}, (50, 50, float("nan"), float("nan")), "50mm"),
        ({}, (float("nan"),) * 4, ""), ({}, (0, 0, 0, 0), ""), ({}, (24, 70), ""), ({}, None, ""),
    ],
)  # fmt: skip
def test_a_lens_without_a_name_is_its_lengths(texts: dict[str, str], numbers: Any, name: str) -> None:
    """As exiftool says it in words."""
    assert lens(Exif(texts, {} if numbers is None else {"LensSpecification": numbers})) == name


def where(north: Any, east: Any, sides: str = "NE", **more: Any) -> tuple[float, float, float, list[str]]:
    numbers = {name: value for name, value in {"GPSLatitude": north, "GPSLongitude": east, **more}.items() if value}
    exif = Exif({"GPSLatitudeRef": sides[:1], "GPSLongitudeRef": sides[1:]}, numbers)
    found = place(exif)
    return found["latitude"], found["longitude"], found["altitude"], exif.broken


def ways(thousandths: int) -> list[tuple[float, ...]]:
    """Of writing so many thousandths of a second: degrees, minutes and seconds; degrees and minutes; degrees."""
    degrees, rest = divmod(thousandths, 3_600_000)
    return [(degrees, rest // 60_000, rest % 60_000 / 1000), (degrees, rest / 60_000), (thousandths / 3_600_000,)]


@UNHURRIED
@given(st.integers(1, 90 * 3_600_000), st.integers(1, 180 * 3_600_000), st.sampled_from(["NE", "NW", "SE", "SW"]))
def test_a_place_is_in_degrees(north: int, east: int, sides: str) -> None:
    """South and west negative, however it is written."""
    expected = [north / 3_600_000 * (-1 if "S" in sides else 1), east / 3_600_000 * (-1 if "W" in sides else 1)]
    for across, down in zip(ways(east), ways(north), strict=True):
        *found, broken = where(down, across, sides)
        assert found[:2] == pytest.approx(expected, abs=1e-9)
        assert broken == []


@pytest.mark.parametrize(
    ("north", "east", "sides", "told"),
    [
        ((0, 0, 0), (0, 0, 0), "NE", 0), ((0, 0, 0), (0, 0, 0), "", 0), ((float("nan"),) * 3, (float("nan"),) * 3, "", 0),
        (None, None, "", 0), ((10, 0, 0), None, "NE", 0), (None, (10, 0, 0), "NE", 0),
        ((90, 0, 1), (10, 0, 0), "NE", 1), ((10, 0, 0), (180, 1, 0), "NE", 1), ((10, 0, 0), (10, 0, 0), "", 2),
        ((10, 0, 0), (10, 0, 0), "EN", 2), ((-10, 0, 0), (10, 0, 0), "NE", 1), ((10, float("nan"), 0), (10, 0, 0), "NE", 1),
        ((1e308, 1e308, 1e308), (float("inf"), 0, 0), "NE", 2),
    ],
)  # fmt: skip
def test_what_is_no_place_is_missing(north: Any, east: Any, sides: str, told: int) -> None:
    """As a whole; told where somebody wrote one, not where a receiver knew none."""
    latitude, longitude, _, broken = where(north, east, sides)
    assert isnan(latitude)
    assert isnan(longitude)
    assert len(broken) == told


def test_the_equator_is_a_place() -> None:
    """Zero is missing only as both."""
    assert where((0, 0, 0), (10, 30, 0))[:2] == (0, 10.5)


@pytest.mark.parametrize(
    ("metres", "reference", "altitude"),
    [(12.5, 0, 12.5), (12.5, None, 12.5), (430.5, 1, -430.5), (430.5, 3, -430.5), (-20.0, 1, -20), (-20.0, 0, -20), (0.0, 1, 0)],
)  # fmt: skip
def test_an_altitude_below_the_sea_is_negative(metres: float, reference: int | None, altitude: float) -> None:
    """By its reference, or by its own sign."""
    more = {} if reference is None else {"GPSAltitudeRef": (float(reference),)}
    assert where(None, None, GPSAltitude=(metres,), **more)[2] == altitude


@pytest.mark.parametrize("metres", [float("nan"), float("inf"), 1e6, -1e6])
def test_no_altitude_is_in_space(metres: float) -> None:
    """Nor is a fraction by zero one."""
    assert isnan(where(None, None, GPSAltitude=(metres,))[2])

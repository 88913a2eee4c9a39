"""What companions say, as columns can keep it; whatever their bytes are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmill.images.facts import FACTS
from pixelmill.sources.said import MOST_NAME, MOST_SAID, MOST_TEXT, MOST_VALUES, TAKEN, column_name, kept, said_in

CAPTIONS = {
    "plain": (b"A horse.\n", "A horse."),
    "with a mark": (b"\xef\xbb\xbfA horse.", "A horse."),
    "UTF-16": ("Ein Pferd, grün".encode("utf-16"), "Ein Pferd, grün"),
    "UTF-32": ("Pferd".encode("utf-32"), "Pferd"),
    "Western European": (b"caf\xe9 \x80", "café €"),
    "of several lines": (b" a\r\nb\n", "a\nb"),
    "with translations": (
        "A horse.\nde.utf8=Ein Pferd.\nzh_TW.utf8=馬\nca@valencia.utf8=Un cavall.\n\n".encode(),
        "A horse.",
    ),
    "nearly so": (b"A horse.\nde.utf8=Ein Pferd.\nThe end.", "A horse.\nde.utf8=Ein Pferd.\nThe end."),
}


@pytest.mark.parametrize("what", CAPTIONS)
def test_captions(what: str) -> None:
    """A text is the caption as people wrote it; of one with translations, as of Tux Paint's stamps, the first line."""
    data, caption = CAPTIONS[what]
    assert said_in("txt", data).values == {"caption": caption}


@pytest.mark.parametrize(("data", "label"), [(b"3\n", 3), (b"-1", -1), (b"dog", "dog"), (b"9" * 30, "9" * 30)])
def test_labels(data: bytes, label: Any) -> None:
    """A class is a number, or a word."""
    assert said_in("cls", data).values == {"label": label}


def test_json() -> None:
    """Values of the first level stay what they are; lists and objects become JSON; what is empty is missing. What is
    infinite is told, and so is a name that is another's as columns have it."""
    given = {
        "caption": "a", "n": 5, "x": 0.5, "ok": True, "none": None, "empty": "", "list": [1, "ü"], "deep": {"a": {}},
        "nan": float("nan"), "inf": float("inf"), "huge": 2**63, "most": 2**63 - 1, "missing": -(2**63), "nul": "a\0b",
        "no list": [],
    }  # fmt: skip
    said = said_in("json", json.dumps(given).encode())
    assert said.values == {
        "caption": "a", "n": 5, "x": 0.5, "ok": 1, "list": '[1, "ü"]', "deep": '{"a": {}}', "huge": str(2**63),
        "most": 2**63 - 1, "missing": str(-(2**63)), "nul": "ab",
    }  # fmt: skip
    assert said.problem == "'inf' is infinite"
    twice = said_in("json", b'{"A b": 1, "a-b": 2}')
    assert (twice.values, twice.problem) == ({"a_b": 1}, "'a-b' is left out: there is another 'a_b'")
    assert said_in("json", b'["a", "b"]').values == {"json": '["a", "b"]'}


BROKEN = {
    "cut off": ("json", b'{"a": [1, 2'), "no UTF-8": ("json", b'{"a": "\xff"}'), "too deep": ("json", b"[" * 100_000),
    "a number of 5,000 digits": ("json", b'{"a": ' + b"9" * 5000 + b"}"), "no text": ("txt", b"\0\1\2"),
    "too long": ("txt", b"x" * (MOST_TEXT + 1)), "half a character": ("txt", b"\xff\xfea"), "no XML": ("xmp", b"{}"),
    "no XMP": ("xmp", b"<a/>"), "deep XML": ("xmp", b"<a>" * 100), "cut-off XML": ("xmp", b"<a><b>"),
    "entities": ("xmp", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
    "a file from elsewhere": ("xmp", b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_says_nothing_but_why(what: str) -> None:
    """It is told in one short line, and raises nothing."""
    said = said_in(*BROKEN[what])
    assert said.values == {}
    assert 0 < len(said.problem) <= 300
    assert "\n" not in said.problem


@given(st.sampled_from(["txt", "cls", "json", "xmp"]), st.binary(max_size=200))
def test_no_bytes_raise(kind: str, data: bytes) -> None:
    """Whatever a companion holds, it costs nothing but itself."""
    said_in(kind, data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
)


@given(st.dictionaries(st.text(), json_values))
def test_what_is_kept_can_be_kept(given: dict[str, Any]) -> None:
    """Names and values of any JSON are such as columns and the ledger take."""
    for name, value in said_in("json", json.dumps(given).encode()).values.items():
        assert 0 < len(name.encode()) <= MOST_NAME
        assert name not in TAKEN
        assert name == name.lower()
        assert isinstance(value, (int, float, str))
        assert not isinstance(value, bool)
        if isinstance(value, int):
            assert -(2**63) < value < 2**63
        if isinstance(value, float):
            assert value == value
            assert abs(value) < float("inf")
        if isinstance(value, str):
            assert 0 < len(value.encode()) <= MOST_TEXT
            assert "\0" not in value


def test_names_that_the_store_has() -> None:
    """What a store says of a picture itself keeps its name: what came with it has its origin in front."""
    assert {fact.name for fact in FACTS} <= TAKEN
    assert kept([("Bytes", 1), ("width", 2), ("Photo Credit", "x")], "json").values == {
        "json_bytes": 1, "json_width": 2, "photo_credit": "x",
    }  # fmt: skip
    assert column_name("latitude", "xmp") == "xmp_latitude"


def test_one_that_says_too_much() -> None:
    """What says more than any companion is kept so far, and told."""
    said = kept(((f"n{i}", i) for i in range(MOST_VALUES + 5)), "json")
    assert len(said.values) == MOST_VALUES
    assert str(MOST_VALUES) in said.problem
    said = kept(((f"n{i}", "x" * MOST_TEXT) for i in range(100)), "json")
    assert sum(len(str(value)) for value in said.values.values()) == MOST_SAID
    assert f"{MOST_SAID:,} bytes" in said.problem


XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmp:Rating="4" exif:GPSLatitude="52,30.5N" exif:GPSLongitude="13,24,36W"
 exif:GPSAltitude="340/10" exif:GPSAltitudeRef="1" exif:DateTimeOriginal="2024-05-06T07:08:09.123+02:00">
<xmp:Label>Red</xmp:Label><dc:title><rdf:Alt><rdf:li xml:lang="x-default">T</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="de">Pferd</rdf:li><rdf:li xml:lang="x-default">A horse</rdf:li></rdf:Alt>
</dc:description><dc:subject><rdf:Bag><rdf:li>horse</rdf:li><rdf:li>grün</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def test_xmp() -> None:
    """Captions by default, keywords, rating, label, the time by the camera's clock, and the place."""
    assert said_in("xmp", XMP.encode()).values == {
        "caption": "A horse", "title": "T", "keywords": '["horse", "grün"]', "rating": 4, "label": "Red",
        "xmp_taken_at": "2024-05-06T07:08:09.123", "xmp_taken_offset": 120, "xmp_latitude": pytest.approx(52.508333333),
        "xmp_longitude": pytest.approx(-13.41), "xmp_altitude": -34.0,
    }  # fmt: skip
    assert said_in("xmp", XMP.encode("utf-16")).values["keywords"] == '["horse", "grün"]'


def test_takeout_has_no_half_places() -> None:
    """A longitude without a latitude that reads is none; the other place counts."""
    half = {"latitude": "12.5", "longitude": 3}
    given = {"photoTakenTime": {}, "geoData": half}
    assert said_in("json", json.dumps(given).encode()).values == {"favorited": 0}
    whole = given | {"geoDataExif": {"latitude": 1, "longitude": 2}}
    values = {"favorited": 0, "takeout_latitude": 1.0, "takeout_longitude": 2.0}
    assert said_in("json", json.dumps(whole).encode()).values == values


def test_takeout() -> None:
    """Places of 0, 0 are none; a person's name, a time and a star are kept."""
    given = {
        "title": "a.jpg", "description": "d", "photoTakenTime": {"timestamp": "-86400"}, "favorited": True,
        "geoData": {"latitude": 0.0, "longitude": 0.0}, "geoDataExif": {"latitude": 1.5, "longitude": 2, "altitude": 7},
        "people": [{"name": "Ann"}, {"name": ""}, "Bob"], "url": "https://x",
    }  # fmt: skip
    said = said_in("json", json.dumps(given).encode())
    assert said.origin == "takeout"
    assert said.values == {
        "title": "a.jpg", "caption": "d", "takeout_taken_at": "1969-12-31T00:00:00.000", "favorited": 1, "takeout_latitude": 1.5,
        "takeout_longitude": 2.0, "takeout_altitude": 7.0, "people": '["Ann"]', "url": "https://x",
    }  # fmt: skip

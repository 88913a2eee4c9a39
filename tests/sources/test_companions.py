"""Which files speak of which pictures, by their names alone."""

from __future__ import annotations

import pytest

from pixelmill.sources.companions import Companion, key_of, keys_of, may_speak, ranges_of

LONG = "x" * 50
SPEAK = {
    ("a.jpg", "a.txt"): True,
    ("a.jpg", "a.jpg.txt"): True,
    ("a.jpg", "b.txt"): False,
    ("a.b.jpg", "a.b.txt"): True,
    ("a.b.jpg", "a.txt"): False,
    ("a.jpg", "a.jpg.json"): True,
    ("a.jpg", "a.jpg.supplemental-metadata.json"): True,
    ("a.jpg", "a.jpg.supplemental-me.json"): True,
    ("a.jpg", "a.jpg.s.json"): True,
    ("a.jpg", "a.jpg..json"): True,
    ("a.jpg", "a.jpg.more.json"): False,
    ("a(1).jpg", "a.jpg(1).json"): True,
    ("a(1).jpg", "a.jpg.supplemental-metadata(1).json"): True,
    ("a(1).jpg", "a.jpg.json"): False,
    ("a.jpg", "a.jpg(1).json"): False,
    ("a(1).jpg", "a(1).json"): True,
    ("a-edited.jpg", "a.jpg.json"): True,
    ("a-edited(1).jpg", "a.jpg(1).json"): True,
    ("a-edited.jpg", "a.jpg.txt"): False,
    ("a-modifié.jpg", "a.jpg.supplemental-metadata.json"): True,
    ("-edited.jpg", ".jpg.json"): False,
    (f"{LONG}.jpg", f"{LONG[:46]}.json"): True,
    (f"{LONG}(3).jpg", f"{LONG[:46]}(3).json"): True,
    (f"{LONG[:44]}.jpg", f"{LONG[:44]}.j.json"): True,
    (f"{LONG[:44]}(2).jpg", f"{LONG[:44]}.j(2).json"): True,
    (f"{LONG}-edited.jpg", f"{LONG[:46]}.json"): True,
    (f"{LONG}-edited(4).jpg", f"{LONG[:46]}(4).json"): True,
    (f"{LONG}.jpg", f"{LONG[:45]}.json"): False,
    ("a.b.0001.jpg", "a.b.0001.json"): True,
    ("a.b.0001.jpg", "a.b.0001.jpg.json"): True,
    ("a.b.0001-edited.jpg", "a.b.0001.jpg.json"): True,
    ("日" * 50 + ".jpg", "日" * 46 + ".json"): True,
}


@pytest.mark.parametrize(("picture", "companion"), SPEAK)
def test_who_speaks_of_whom(picture: str, companion: str) -> None:
    """By a name of its own, without the picture's extension or with it, or by a name that Takeout makes; and where
    pictures are looked for by a companion, there they are."""
    path, kind = f"/photos/{picture}".encode(), companion.rpartition(".")[2]
    key, keys = key_of(f"/photos/{companion}".encode(), kind), keys_of(path)
    speaks = SPEAK[picture, companion]
    assert (key in keys.own or (kind == "json" and key in keys.takeout)) == speaks
    if speaks:
        assert any(first <= path < end for first, end in ranges_of(key, kind))
    assert not keys_of(b"/elsewhere/" + picture.encode()).own[0].startswith(b"/photos")


def test_members_are_known_by_the_name_up_to_the_first_dot() -> None:
    """That is WebDataset's key; folders have no such rule."""
    key, path = key_of(b"/s.tar/1/000.txt", "txt"), b"/s.tar/1/000.left.png"
    assert key in keys_of(path, archived=True).own
    assert key not in keys_of(path).own
    assert any(first <= path < end for first, end in ranges_of(key, "txt"))


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.json", "b/a.Json", "a.jpg.xmp", "a.cls", "a b.txt"])
def test_names_of_companions(name: str) -> None:
    """The kind is told by the end of the name, in any case."""
    assert may_speak(name)
    assert Companion("/x", name, 0, 0, 0).kind == name.rpartition(".")[2].lower()


@pytest.mark.parametrize("name", ["a.jpg", "txt", ".txt", "b/.json", "ajson", "a.txt.gz", "a.jsonl", "", "x."])
def test_names_of_others(name: str) -> None:
    """Pictures, hidden files and what only resembles a companion are none."""
    assert not may_speak(name)

"""Files that say something about a picture: which names they have, and of which pictures they speak."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Final, NamedTuple

from pixelmill.sources.address import archive_kind
from pixelmill.sources.formats import has_image_extension
from pixelmill.sources.found import FoundFile

_KINDS: Final = {".txt": "txt", ".cls": "cls", ".json": "json", ".xmp": "xmp"}
ROW: Final = "row"
"""The kind of what a row of a Parquet file holds beside a picture."""
SPEAKING: Final = frozenset(end for name in _KINDS for end in (name[-4:], name[-4:].upper(), name[-4:].title()))
"""The last four letters of a companion's name, by which millions of others are told."""
_CUT: Final = 46
"""Google Takeout cuts names to so many characters before `.json`."""
_SUPPLEMENT: Final = b".supplemental-metadata"
_EDITED: Final = tuple(
    os.fsencode(word)
    for word in (
        "-edited", "-bearbeitet", "-modifié", "-editado", "-editada", "-modificato", "-bewerkt", "-redigeret",
        "-redigert", "-redigerad", "-edytowane", "-editat", "-muokattu", "-düzenlendi", "-編集済み", "-已修改",
        "-изменено",
    )
)  # fmt: skip
"""How Takeout ends the names of edited copies, by the language of the account; it speaks of the originals."""
_NUMBERED: Final = re.compile(rb"(?s)(.+)(\(\d{1,4}\))")
_ENDING: Final = re.compile(rb"\.\w{2,5}\Z")
_LONGEST_ENDING: Final = 6


class Companion(FoundFile):
    """A file or member that says something about pictures; of a Parquet row what stands beside the picture, under its
    very path."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """txt, cls, json, xmp, or row."""
        return ROW if _kind_of(self.source) == "parquet" else _KINDS[self.path[self.path.rindex(".") :].lower()]


class Keys(NamedTuple):
    """The keys that companions of a picture may have, the nearest first: of any kind, and those that only Takeout's
    JSON has."""

    own: tuple[bytes, ...]
    takeout: tuple[bytes, ...]


@lru_cache(maxsize=16)
def _kind_of(source: str) -> str | None:
    """Of millions of companions few have different sources."""
    return archive_kind(source)


def may_speak(name: str) -> bool:
    """Whether a name is one of a companion's."""
    return name[-4:] in SPEAKING and name[name.rfind(".") :].lower() in _KINDS and name.rfind(".") > name.rfind("/") + 1


def key_of(path: bytes, kind: str) -> bytes:
    """What pictures a companion speaks of: those that have this among their `keys_of`."""
    if kind == ROW:
        return path
    stem = path[: path.rindex(b".")]
    return _told_by_takeout(stem) if kind == "json" else stem


def keys_of(path: bytes, *, archived: bool = False) -> Keys:
    """What a companion of the picture at an absolute path may have for its key: `a.jpg.txt` comes before `a.txt`. In an
    archive the name up to its first dot is one as well (WebDataset)."""
    folder, slash, name = path.rpartition(b"/")
    place = folder + slash
    stem, dot, ending = name.rpartition(b".")
    own = [path, place + stem] if stem else [path]
    if archived and b"." in stem and (first := stem.partition(b".")[0]):
        own.append(place + first)
    if not dot or not ((b"-" in stem and _edited(stem)) or len(name) > _CUT):
        return Keys(tuple(own), ())
    return Keys(tuple(own), tuple(place + key for key in _takeout_names(stem, dot + ending)))


def ranges_of(key: bytes, kind: str) -> list[tuple[bytes, bytes]]:
    """Between which paths, the first of them included, those of the pictures lie that have `key` among their keys; not
    each one in between has it."""
    found = [(key, key + b"\0")]
    if kind != ROW:
        found.append((key + b".", key + b"/"))
    return found + (_takeout_ranges(key) if kind == "json" else [])


def _takeout_ranges(key: bytes) -> list[tuple[bytes, bytes]]:
    """Where edited copies are, and pictures of whose names a key has only the first letters."""
    folder, slash, name = key.rpartition(b"/")
    ending = _ENDING.search(name)
    plain, number = _unnumbered(name[: ending.start()] if ending else name)
    found = [(folder + slash + plain + b"-", folder + slash + plain + b".")] if plain else []
    if len(os.fsdecode(name)) - len(number) == _CUT:
        begin = folder + slash + (plain.rpartition(b".")[0] if b"." in plain[-_LONGEST_ENDING:] else plain)
        found.append((begin, begin + b"\xff"))
    return found


def _takeout_names(stem: bytes, ending: bytes) -> list[bytes]:
    """The names by which Takeout's JSON may call a picture that is an edited copy, or has a long name."""
    plain, number = _unnumbered(stem)
    if edited := _edited(stem):
        plain = plain[: -len(edited)]
    name = plain + ending
    found = [_with_number(name, number)] if edited else []
    letters = os.fsdecode(name)
    return found + ([_with_number(os.fsencode(letters[:_CUT]), number)] if len(letters) > _CUT else [])


def _told_by_takeout(stem: bytes) -> bytes:
    """What a JSON is called without its ending, as the picture is called that it speaks of: `a.jpg(1)` and
    `a.jpg.supplemental-metadata(1)` speak of `a(1).jpg`."""
    folder, slash, name = stem.rpartition(b"/")
    if b"." not in name:
        return stem
    plain, number = _unnumbered(name)
    end = plain.rfind(b".")
    if _SUPPLEMENT.startswith(plain[end:]) and has_image_extension(os.fsdecode(plain[:end])):
        plain = plain[:end]
    elif not (number and has_image_extension(os.fsdecode(plain))):
        return stem
    return folder + slash + _with_number(plain, number)


def _unnumbered(name: bytes) -> tuple[bytes, bytes]:
    """A name without the number in brackets at its end, and that."""
    found = _NUMBERED.fullmatch(name) if name.endswith(b")") else None
    return (found[1], found[2]) if found else (name, b"")


def _with_number(name: bytes, number: bytes) -> bytes:
    """A name with a number before its extension."""
    found = _ENDING.search(name)
    at = found.start() if found and found.start() else len(name)
    return name[:at] + number + name[at:]


def _edited(stem: bytes) -> bytes:
    """The word at the end of a name that says that it is an edited copy's; b'' if there is none."""
    plain, _ = _unnumbered(stem)
    return next((word for word in _EDITED if plain.endswith(word) and plain != word), b"")

"""What EXIF says that facts are made of, by the names of CIPA DC-008-2023 (sections 4.6.4 to 4.6.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeVar

from pixelmill.images.tiff_tags import Block, Broken, Tag

Directory = Literal["first", "Exif", "GPS"]
_Name = TypeVar("_Name", bound=str)
_Value = TypeVar("_Value")


class _Wanted(NamedTuple):
    texts: Mapping[int, str]
    numbers: Mapping[int, str]
    pointers: Mapping[int, Directory] = {}


_TEXTS: Final = {
    0x010F: "Make", 0x0110: "Model", 0xA434: "LensModel",
    0x0132: "DateTime", 0x9003: "DateTimeOriginal", 0x9004: "DateTimeDigitized",
    0x9290: "SubSecTime", 0x9291: "SubSecTimeOriginal", 0x9292: "SubSecTimeDigitized",
    0x9010: "OffsetTime", 0x9011: "OffsetTimeOriginal", 0x9012: "OffsetTimeDigitized",
}  # fmt: skip
_NUMBERS: Final = {0xA432: "LensSpecification"}
_WANTED: Final[Mapping[Directory, _Wanted]] = {
    "first": _Wanted(_TEXTS, _NUMBERS, {0x8769: "Exif", 0x8825: "GPS"}),
    "Exif": _Wanted(_TEXTS, _NUMBERS),
    "GPS": _Wanted(
        {1: "GPSLatitudeRef", 3: "GPSLongitudeRef", 0x1D: "GPSDateStamp"},
        {2: "GPSLatitude", 4: "GPSLongitude", 5: "GPSAltitudeRef", 6: "GPSAltitude", 7: "GPSTimeStamp"},
    ),
}
"""Writers put tags of the second directory into the first as well; those of a place have numbers of their own. Only the
first leads to others, so that none leads round in a circle."""


@dataclass(frozen=True, slots=True)
class Exif:
    """Texts and numbers by the names of their tags; `broken` says what of it could not be read, and why."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """'' if there is none."""
        return self.texts.get(name, "")

    def add(self, data: memoryview, directory: Directory = "first") -> None:
        """Take in what a block says that begins with this directory; what was known before stays."""
        with self._noting("EXIF"):
            block = Block(data)
            for pointed, offset in self._take(block, block.first, directory).items():
                self._take(block, int(offset[0]), pointed)

    def _take(self, block: Block, offset: int, directory: Directory) -> Mapping[Directory, tuple[float, ...]]:
        """What one directory says, and where those are that it leads to."""
        wanted, found = _WANTED[directory], dict[Directory, tuple[float, ...]]()
        with self._noting(f"the {directory} directory of EXIF"):
            for tag in block.tags(offset):
                if text := wanted.texts.get(tag.number):
                    self._keep(self.texts, text, block.text, tag)
                elif number := wanted.numbers.get(tag.number):
                    self._keep(self.numbers, number, block.numbers, tag)
                elif pointer := wanted.pointers.get(tag.number):
                    self._keep(found, pointer, block.numbers, tag)
        return found

    def _keep(self, known: dict[_Name, _Value], name: _Name, read: Callable[[Tag], _Value], tag: Tag) -> None:
        if name not in known:
            with self._noting(name):
                known[name] = read(tag)

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except Broken as broken:
            self.broken.append(f"{name} {broken}")

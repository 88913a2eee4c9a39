"""The contract of archives: zip, tar (WebDataset shards), Parquet with the bytes of images (Hugging Face datasets)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from pixelmill.errors import SourceError

Place = tuple[int, int]
"""Where a member lies, as `Member.place` says, and its size in bytes."""


class ArchiveDamaged(SourceError):
    """An archive that cannot be read as what its name says."""


class CutOff(OSError):
    """A member that lies beyond the end of its archive, which may be whole again later."""

    def __str__(self) -> str:
        return "the archive is cut off there"


@dataclass(frozen=True, slots=True)
class Member:
    """One image of an archive: its name as it is kept, its size in bytes (0: unknown), the time of modification in
    nanoseconds (Unix, 0: unknown), where it lies (what that is, the kind of archive says) and a checksum (0: none). Or
    what `speaks` of images: a text beside them; of Parquet the other columns of an image's row, under its name."""

    name: str
    size: int
    mtime_ns: int
    place: int
    checksum: int = 0
    speaks: bool = False


State = Literal["whole", "open", "damaged"]
"""What is known of an archive that was listed: that it is whole; that it ends without the mark that ends one, so that
more may have been there; that a part of it cannot be read."""


class Archive(Protocol):
    """An opened archive. Raises ArchiveDamaged for one that is none."""

    @property
    def state(self) -> State:
        """What is known of it when `members` has come to its end."""

    @property
    def told(self) -> list[str]:
        """What of it is no member, in words, when `members` has come to its end."""

    @property
    def others(self) -> int:
        """How many members are no images, when `members` has come to its end."""

    def members(self) -> Iterator[Member]:
        """The images and what speaks of them, by where they lie."""

    def read(self, name: str, place: Place | None, *, most: int) -> bytes:
        """The bytes of a member. `place` None: look for it. Raises ImageRejected for one that is damaged, encrypted or
        larger than `most`, KeyError for a name that it does not have, and FileChanged when the archive is another."""

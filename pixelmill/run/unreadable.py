"""Sources of which much could not be read: gone, empty or failing, before a run looks at them or while it works."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from pixelmill.errors import reason_of
from pixelmill.formatting import number_of
from pixelmill.sources.address import is_address
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.hangs import Unanswered, hanging

NAMED = "the files that were named"
"""In place of a source's name: files of lists, and single ones."""
GONE = "the source is gone"
EMPTY = "the source is empty"
SILENT = "the source does not answer"
_FEW = 5
"""So many files that could not be read are told one by one, with each one's reason."""


class UnreadableSource(BaseModel):
    """A source of which much could not be read: how many of its `images`, and `why`."""

    model_config = ConfigDict(frozen=True)

    source: str
    images: NonNegativeInt
    unread: NonNegativeInt
    why: str

    def __str__(self) -> str:
        return f"{self.unread:,} of {number_of(self.images, 'image')} of {self.source} could not be read: {self.why}."

    @property
    def is_away(self) -> bool:
        """Whether nothing is there any more."""
        return self.why in (GONE, EMPTY)


def what_is_wrong(folder: str, deadline: float | None = None) -> str:
    """Why nothing is to be had of a folder that held images; '' if something is there, or it lies elsewhere."""
    if is_address(folder):
        return ""
    if hanging(folder):
        return SILENT

    def look() -> str:
        begin("list", folder, folder)
        with os.scandir(folder) as entries:
            return "" if next(entries, None) else EMPTY

    try:
        return answer(look, deadline=deadline)
    except (FileNotFoundError, NotADirectoryError):
        return GONE
    except Unanswered:
        return SILENT
    except OSError as error:
        return reason_of(error).rstrip(".")


def unreadable_sources(
    before: Sequence[UnreadableSource], seen: Mapping[str, int], unread: Sequence[str], *, in_all: int, most: float,
    look: Callable[[str], str],
) -> tuple[UnreadableSource, ...]:  # fmt: skip
    """The sources that had to be done without, or of whose images a larger share than `most` could not be read.

    `before` are those that the scan found so, `seen` the images that it saw below each folder, and `in_all` everywhere;
    `unread` the files that could not be read since, each as "path: reason", and `look` says what is wrong with a folder
    now.
    """
    found = {s.source: s for s in before if s.unread > most * s.images or s.unread >= s.images}
    seen = {**seen, NAMED: in_all - _below(seen)}
    for folder, told in _by_folder(seen, unread).items():
        images = max(seen[folder], len(told))
        why = "" if folder == NAMED else look(folder)
        if folder not in found and (why or len(told) > most * images):
            found[folder] = UnreadableSource(source=folder, images=images, unread=len(told), why=why or _reasons(told))
    return tuple(found.values())


def told_one_by_one(
    unread: Sequence[str], seen: Mapping[str, int], sources: Iterable[UnreadableSource]
) -> list[str]:  # fmt: skip
    """The files that could not be read, but for those of which one line on their source says so."""
    in_a_line = {source.source for source in sources if source.is_away or source.unread > _FEW}
    return [one for folder, told in _by_folder(seen, unread).items() if folder not in in_a_line for one in told]


def _below(seen: Mapping[str, int]) -> int:
    """The images below all these folders, of which some may lie in others."""
    outer = (f for f in seen if not any(f != other and f.startswith(other.rstrip("/") + "/") for other in seen))
    return sum(seen[folder] for folder in outer)


def _by_folder(folders: Iterable[str], unread: Sequence[str]) -> dict[str, dict[str, None]]:
    """Which of the files that could not be read lie below which folder, the innermost; the others by NAMED."""
    inner_first = sorted(folders, key=len, reverse=True)
    found: dict[str, dict[str, None]] = {}
    for told in unread:
        folder = next((f for f in inner_first if told.startswith(f.rstrip("/") + "/")), NAMED)
        found.setdefault(folder, {})[told] = None
    return found


def _reasons(told: Iterable[str]) -> str:
    """The commonest reason."""
    counts = Counter(text.rpartition(": ")[2].rstrip(".") for text in told)
    (why, times), *others = counts.most_common()
    return f"{why} ({times:,}), and {number_of(len(others), 'other reason')}" if others else why

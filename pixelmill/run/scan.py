"""What the sources hold now, recorded beside what they held before."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixelmill.embedding.progress import SEEN, tell
from pixelmill.run.rehash import rehash
from pixelmill.sources.discover import Discovery, in_order
from pixelmill.sources.files import Status
from pixelmill.sources.found import FoundFile
from pixelmill.sources.pattern import fits
from pixelmill.sources.source import Source, parse_source
from pixelmill.watch.calls import answer, begin, items_in_time
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import Hang, Unanswered, hanging

if TYPE_CHECKING:
    from pixelmill.store.ledger import Ledger

log = logging.getLogger(__name__)

_DETOURS = 3
"""So many folders and files of one source may hang before the rest of it is left as well."""
_STAYS = "What is known from there stays as it is on record."


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at the sources: its number in the ledger, images seen, files skipped, what could not be looked at (whole
    sources first); the images seen below each source that is a folder or a pattern; and what hung."""

    number: int
    seen: int
    skipped: int
    problems: tuple[str, ...] = ()
    folders: Mapping[str, int] = field(default_factory=dict)
    hung: tuple[Hang, ...] = ()

    @property
    def failure(self) -> str:
        """Why no image was seen, if not because there is none: something could not be looked at. Else ''."""
        if self.seen or not self.problems:
            return ""
        return f"Expected images in the sources. None was found, and not all could be read: {self.problems[0]}"


def scan_sources(
    ledger: Ledger, sources: Sequence[str], *, paranoid: bool = False, threads: int = 2,
    max_bytes: int = 1 << 30, deadline: float | None = None,
) -> Scan:  # fmt: skip
    """Walk `sources`, record what is there and mark what is gone. `paranoid`: what looks unchanged is hashed again,
    elsewhere up to `max_bytes` of a file.

    A folder that cannot be read, that hangs, or that is empty though images were known there (a disk that is not
    mounted?), loses nothing: that is told as a problem instead. At the `deadline` (Unix seconds) the walk ends.
    """
    problems: dict[str, str] = {}
    number = ledger.scans.begin()
    walk = _Walk(problems, deadline)
    discovery = Discovery(
        walk.parsed(sources), ledger.scans.is_known, ledger.scans.is_stored, ledger.scans.members, problems.__setitem__
    )
    ledger.scans.record(number, _told(walk.files(discovery)))
    ledger.scans.record_archives(number, {**discovery.notes.archives, **_complete(ledger, number, discovery)})
    folders = {}
    for source in discovery.sources:
        if source.kind in ("folder", "pattern"):
            folders[source.root] = ledger.scans.seen_under(number, source.root)
        if source not in walk.unfinished:
            _mark_gone(ledger, number, source, discovery, problems)
    if paranoid:
        _rehash(ledger, number, walk, threads, max_bytes)
    whole = {"paranoid", *(name for source in discovery.sources for name in (source.root, source.place))}
    ordered = sorted(problems.items(), key=lambda problem: problem[0] not in whole)
    told = tuple(f"{path}: {reason}" for path, reason in ordered)
    for problem in told:
        log.warning("%s", problem)
    return Scan(number, ledger.scans.seen(number), discovery.notes.skipped, told, folders, tuple(walk.hung))


def _told(files: Iterator[FoundFile]) -> Iterator[FoundFile]:
    for file in files:
        tell(SEEN, 1)
        yield file


def _complete(ledger: Ledger, scan: int, discovery: Discovery) -> dict[str, Status]:
    """The archives without an end in which all was found that is known of them."""
    ended = discovery.notes.open_ended
    return {
        at: status for at, status in ended.items() if ledger.scans.images_under(at) == ledger.scans.seen_under(scan, at)
    }


def source_in_time(text: str, deadline: float | None) -> Source:
    """What `parse_source` says of a source. Raises like that, and Unanswered for one that hangs: at once, if it was
    waited for in vain before."""

    def parse() -> Source:
        begin("list", text, text)
        return parse_source(text)

    for hang in hanging(text):
        raise Unanswered(hang)
    return answer(parse, deadline=deadline)


class _Walk:
    """A look at all sources that nothing which hangs holds up: it is left, told of, and gone round."""

    def __init__(self, problems: dict[str, str], deadline: float | None) -> None:
        self.problems = problems
        self.deadline = deadline
        self.hung: list[Hang] = []
        self.unfinished: set[Source] = set()
        """The sources of which not all was seen, so that nothing can be said to be gone."""

    def parsed(self, sources: Sequence[str]) -> list[Source]:
        """The sources that answer. Raises SourceError for what is none."""
        found = []
        for text in sources:
            try:
                found.append(source_in_time(text, self.deadline))
            except Unanswered as silent:
                self._tell(text, silent)
        return found

    def files(self, discovery: Discovery) -> Iterator[FoundFile]:
        """The image files of all sources, but for those below what hangs."""
        for source in in_order(discovery.sources):
            while source not in self.unfinished:
                files = discovery.walk(source)
                try:
                    yield from items_in_time(files, stage="list", what=source.place, deadline=self.deadline)
                    break
                except Unanswered as silent:
                    self._tell(silent.hang.what, silent)
                    if not self._goes_round(discovery, source, silent.hang):
                        self.problems.setdefault(source.place, f"Not all of it was seen. {_STAYS}")
                        self.unfinished.add(source)

    def _goes_round(self, discovery: Discovery, source: Source, hang: Hang) -> bool:
        """Whether the walk of a source can begin anew and leave out what hung."""
        discovery.avoided.add(hang.what)
        ours = [hung for hung in self.hung if hung.source == source.root]
        inside = hang.what.rstrip("/") != source.root and hang.source == source.root
        return source.kind == "folder" and inside and len(ours) <= _DETOURS and not past(self.deadline)

    def _tell(self, what: str, silent: Unanswered) -> None:
        if silent.hang.seconds:
            self.hung.append(silent.hang)
            self.problems[what] = f"It gave no answer for {silent.hang.seconds:.0f} s. {_STAYS}"
        else:
            self.problems[what] = f"The deadline came before all of it was seen. {_STAYS}"


def _rehash(ledger: Ledger, scan: int, walk: _Walk, threads: int, max_bytes: int) -> None:
    altered = rehash(
        ledger, scan, walk.problems.__setitem__,
        threads=threads, max_bytes=max_bytes, deadline=walk.deadline, on_hang=walk.hung.append,
    )  # fmt: skip
    if altered:
        walk.problems["paranoid"] = (
            f"{altered:,} files hold other bytes than on record, though their size and times are the same. "
            "They count as changed. If nobody changed them, the disk may be failing."
        )


def _mark_gone(ledger: Ledger, scan: int, source: Source, discovery: Discovery, problems: dict[str, str]) -> None:
    if source.kind in ("file", "list"):
        gone = sorted(discovery.notes.missing)
        if gone and not ledger.scans.seen(scan):
            problems[source.place] = "none of its files is there. Nothing is marked as removed; is a disk not mounted?"
            return
        for path in gone:
            ledger.scans.mark_path_gone(path)
            ledger.scans.mark_gone(scan, path)
        return
    known = ledger.scans.images_under(source.root)
    if known and not ledger.scans.seen_under(scan, source.root):
        told = f"{problems[source.root]}; it " if source.root in problems else ""
        problems[source.root] = (
            f"{told}holds no image, but {known:,} are known from there. Nothing is marked as removed; is it mounted?"
        )
        return
    fitting = fits(source.place) if source.kind == "pattern" else None
    ledger.scans.mark_gone(scan, source.root, unreadable=tuple(problems), fitting=fitting)

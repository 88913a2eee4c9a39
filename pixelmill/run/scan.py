"""What the sources hold now, recorded beside what they held before."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixelmill.embedding.progress import SEEN, tell
from pixelmill.errors import SourceError
from pixelmill.formatting import number_of
from pixelmill.run.companions import BesideReport, without_companions
from pixelmill.run.rehash import rehash
from pixelmill.run.unreadable import UnreadableSource, what_is_wrong
from pixelmill.sources.address import checked_address, is_address
from pixelmill.sources.discover import Discovery, in_order
from pixelmill.sources.files import Status
from pixelmill.sources.found import FoundFile
from pixelmill.sources.pattern import fits
from pixelmill.sources.source import Source, parse_source
from pixelmill.watch.calls import answer, begin, doing, items_in_time
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import Hang, Unanswered, hanging
from pixelmill.watch.saying import saying

if TYPE_CHECKING:
    from pixelmill.store.ledger import Ledger

log = logging.getLogger(__name__)

_DETOURS = 3
"""So many folders and files of one source may hang before the rest of it is left as well."""
_STAYS = "What is known from there stays as it is on record."
_LATE = f"The deadline came before all of it was seen. {_STAYS}"
_NOT_REMOVED = "Nothing is marked as removed; is it mounted?"


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at the sources: its number in the ledger, images seen, files skipped, what could not be looked at (whole
    sources first); the images seen below each source that is a folder or a pattern; what hung; and the sources of which
    images are known that could not be looked at; what was read beside them."""

    number: int
    seen: int
    skipped: int
    problems: tuple[str, ...] = ()
    folders: Mapping[str, int] = field(default_factory=dict)
    hung: tuple[Hang, ...] = ()
    unreadable: tuple[UnreadableSource, ...] = ()
    beside: BesideReport = field(default_factory=BesideReport)

    @property
    def failure(self) -> str:
        """Why no image was seen, if not because there is none: something could not be looked at. Else ''."""
        if self.seen or not self.problems:
            return ""
        return f"Expected images in the sources. None was found, and not all could be read: {self.problems[0]}"


def scan_sources(
    ledger: Ledger, sources: Sequence[str], *, paranoid: bool = False, threads: int = 2,
    max_bytes: int = 1 << 30, deadline: float | None = None, on_begin: Callable[[int], object] = lambda _scan: None,
    beside: bool = False,
) -> Scan:  # fmt: skip
    """Walk `sources`, record what is there and mark what is gone. `paranoid`: what looks unchanged is hashed again,
    elsewhere up to `max_bytes` of a file. `on_begin` hears the scan's number before anything is looked at. `beside`:
    what speaks of images is recorded as well, to be read (`beside.read_beside`).

    A folder that cannot be read, that hangs, that is empty or away though images were known there (a disk that is not
    mounted?), loses nothing: that is told as a problem instead. At the `deadline` (Unix seconds) the walk ends. Raises
    SourceError for a source that is none: where nothing is known of it, or there is no other.
    """
    problems: dict[str, str] = {}
    number = ledger.scans.begin()
    on_begin(number)
    walk = _Walk(problems, deadline, beside=beside)
    found = walk.parsed(sources, ledger)
    unchanged = list[str]()

    def members(archive: str, status: Status) -> Iterator[FoundFile] | None:
        images = ledger.scans.members(archive, status)
        if images is not None:
            unchanged.append(archive)
        return images

    discovery = Discovery(
        found, ledger.scans.is_known, ledger.scans.is_stored, members, problems.__setitem__,
        ledger.beside.is_known if beside else None,
    )  # fmt: skip
    ledger.scans.record(number, _told(without_companions(ledger, number, walk.files(discovery))))
    if beside:
        ledger.beside.see_archives(number, unchanged)
    archives = {**discovery.notes.archives, **_complete(ledger, number, discovery)}
    ledger.scans.record_archives(number, archives, beside=beside)
    folders = dict.fromkeys((place for place in walk.away if place not in walk.missing), 0)
    for source in discovery.sources:
        if source.kind in ("folder", "pattern"):
            folders[source.root] = ledger.scans.seen_under(number, source.root)
        if source not in walk.unfinished:
            _mark_gone(ledger, number, source, walk)
    if paranoid:
        _rehash(ledger, number, walk, threads, max_bytes)
    whole = {"paranoid", *(name for source in discovery.sources for name in (source.root, source.place))}
    ordered = sorted(problems.items(), key=lambda problem: problem[0] not in whole)
    told = tuple(f"{path}: {reason}" for path, reason in ordered)
    for problem in told:
        log.warning("%s", problem)
    unreadable = tuple(_unreadable(ledger, number, folders, walk))
    return Scan(number, ledger.scans.seen(number), discovery.notes.skipped, told, folders, tuple(walk.hung), unreadable)


def _told(files: Iterator[FoundFile]) -> Iterator[FoundFile]:
    seen = 0
    with saying("Walking through them", lambda: f"{number_of(seen, 'image')} so far, {doing()}"):
        for seen, file in enumerate(files, 1):  # noqa: B007 - is told
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


def known_below(ledger: Ledger, source: str) -> tuple[str, int]:
    """The absolute place of a source, and how many images are on record below it."""
    place = checked_address(source).rstrip("/") if is_address(source) else os.path.abspath(source)  # noqa: PTH100
    return place, ledger.scans.images_under(place)


class _Walk:
    """A look at all sources that nothing which hangs holds up: it is left, told of, and gone round."""

    def __init__(self, problems: dict[str, str], deadline: float | None, *, beside: bool = False) -> None:
        self.problems = problems
        self.beside = beside
        self.deadline = deadline
        self.hung: list[Hang] = []
        self.unfinished: set[Source] = set()
        """The sources of which not all was seen, so that nothing can be said to be gone."""
        self.away: dict[str, str] = {}
        """Sources of which nothing is to be seen, though images are known from there; and why."""
        self.missing: dict[str, set[str]] = {}
        """The files that each list has named and that are not there, if some are."""

    def parsed(self, sources: Sequence[str], ledger: Ledger) -> list[Source]:
        """The sources that answer. Raises SourceError for what is none, unless images are known from there and there is
        another to look at."""
        found, missing = [], dict[str, SourceError]()
        for text in sources:
            try:
                found.append(source_in_time(text, self.deadline))
            except Unanswered as silent:
                self._tell(text, silent)
            except SourceError as error:
                missing[text] = error
        for text, why in missing.items():
            place, known = known_below(ledger, text)
            if not (found and known):
                raise why
            self.tell_away(place, "cannot be looked at", known)
        return found

    def tell_away(self, place: str, what: str, known: int) -> None:
        """Tell of a source of which nothing is to be seen, though images are known from there."""
        told = f"{self.problems[place]}; it " if place in self.problems else ""
        self.problems[place] = f"{told}{what}, but {known:,} are known from there. {_NOT_REMOVED}"
        self.away[place] = what_is_wrong(place, self.deadline) or f"it {what}"

    def files(self, discovery: Discovery) -> Iterator[FoundFile]:
        """The image files of all sources, but for those below what hangs."""
        for source in in_order(discovery.sources):
            while source not in self.unfinished:
                files = discovery.walk(source)
                try:
                    yield from self._noted(
                        source, discovery, items_in_time(files, stage="list", what=source.place, deadline=self.deadline)
                    )
                    break
                except Unanswered as silent:
                    self._tell(silent.hang.what, silent)
                    if not self._goes_round(discovery, source, silent.hang):
                        self.problems.setdefault(source.place, f"Not all of it was seen. {_STAYS}")
                        self.unfinished.add(source)

    def _noted(self, source: Source, discovery: Discovery, files: Iterator[FoundFile]) -> Iterator[FoundFile]:
        """The files of a source. Of those that a list names and that are not there a note is taken, and whether that is
        so of all."""
        if source.kind != "list":
            yield from files
            return
        before, found = set(discovery.notes.missing), 0
        for file in files:
            found += 1
            yield file
        self.missing[source.place] = missing = discovery.notes.missing - before
        if missing and not found:
            self.problems[source.place] = f"none of its files is there. {_NOT_REMOVED}"
            self.away[source.place] = "none of its files is there"

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
            self.problems[what] = _LATE


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


def _mark_gone(ledger: Ledger, scan: int, source: Source, walk: _Walk) -> None:
    if source.kind in ("file", "list"):
        for path in sorted(walk.missing.get(source.place, ())) if source.place not in walk.away else ():
            ledger.scans.mark_path_gone(path)
            ledger.scans.mark_gone(scan, path, beside=walk.beside)
        return
    known, seen = ledger.scans.images_under(source.root), ledger.scans.seen_under(scan, source.root)
    if known and not seen:
        walk.tell_away(source.root, "holds no image", known)
        return
    if seen < known and (why := what_is_wrong(source.root, walk.deadline)):
        walk.problems[source.root] = f"{why}, since {seen:,} of {known:,} images were seen. {_STAYS}"
        return
    fitting = fits(source.place) if source.kind == "pattern" else None
    ledger.scans.mark_gone(scan, source.root, unreadable=tuple(walk.problems), fitting=fitting, beside=walk.beside)


def _unreadable(ledger: Ledger, scan: int, roots: Mapping[str, int], walk: _Walk) -> Iterator[UnreadableSource]:
    """The sources of which images are known that could not be looked at, though there was time."""
    for place, missing in walk.missing.items():
        if place in walk.away:
            count = len(missing)
            yield UnreadableSource(source=place, images=count, unread=count, why=walk.away[place])
    failed = {place for place, reason in walk.problems.items() if reason != _LATE}
    for root in roots:
        inside = [place for place in failed if f"{place}/".startswith(f"{root.rstrip('/')}/")]
        topmost = [place for place in inside if failed.isdisjoint(_above(place))]
        unseen = {p: ledger.scans.images_under(p) - ledger.scans.seen_under(scan, p) for p in topmost}
        if unread := sum(unseen.values()):
            place = max(sorted(unseen), key=lambda p: unseen[p])
            why = walk.away.get(root) or f"{walk.problems[place].removesuffix(_STAYS).strip(' .')}, at {place}"
            images = ledger.scans.images_under(root)
            yield UnreadableSource(source=root, images=images, unread=unread, why=why)


def _above(place: str) -> Iterator[str]:
    """The folders that a path or an address lies in."""
    while (place := place.rpartition("/")[0]) and not place.endswith("/"):
        yield place

"""What the sources hold now, recorded beside what they held before."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pixelmill.images.discover import Discovery, Source, discover
from pixelmill.rehash import rehash
from pixelmill.remote.files import Status
from pixelmill.remote.pattern import fits
from pixelmill.store.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at the sources: its number in the ledger, images seen, files skipped, what could not be looked at (whole
    sources first); and the images seen below each source that is a folder or a pattern."""

    number: int
    seen: int
    skipped: int
    problems: tuple[str, ...] = ()
    folders: Mapping[str, int] = field(default_factory=dict)

    @property
    def failure(self) -> str:
        """Why no image was seen, if not because there is none: something could not be looked at. Else ''."""
        if self.seen or not self.problems:
            return ""
        return f"Expected images in the sources. None was found, and not all could be read: {self.problems[0]}"


def scan_sources(
    ledger: Ledger, sources: Sequence[str], *, paranoid: bool = False, threads: int = 2, deadline: float | None = None
) -> Scan:
    """Walk `sources`, record what is there and mark what is gone. `paranoid`: what looks unchanged is hashed again.

    A folder that cannot be read, or that is empty though images were known there (a disk that is not mounted?), loses
    nothing: that is told as a problem instead.
    """
    problems: dict[str, str] = {}
    number = ledger.new_scan()
    discovery = discover(
        sources, known=ledger.is_known, stored=ledger.is_stored, members=ledger.members,
        on_problem=problems.__setitem__,
    )  # fmt: skip
    ledger.record_scan(number, discovery)
    ledger.record_archives(number, {**discovery.notes.archives, **_complete(ledger, number, discovery)})
    folders = {}
    for source in discovery.sources:
        if source.kind in ("folder", "pattern"):
            folders[source.root] = ledger.seen_under(number, source.root)
        _mark_gone(ledger, number, source, discovery, problems)
    if paranoid:
        _rehash(ledger, number, problems, threads, deadline)
    whole = {"paranoid", *(name for source in discovery.sources for name in (source.root, source.place))}
    ordered = sorted(problems.items(), key=lambda problem: problem[0] not in whole)
    told = tuple(f"{path}: {reason}" for path, reason in ordered)
    for problem in told:
        log.warning("%s", problem)
    return Scan(number, ledger.seen(number), discovery.notes.skipped, told, folders)


def _complete(ledger: Ledger, scan: int, discovery: Discovery) -> dict[str, Status]:
    """The archives without an end in which all was found that is known of them."""
    ended = discovery.notes.open_ended
    return {at: status for at, status in ended.items() if ledger.images_under(at) == ledger.seen_under(scan, at)}


def _rehash(ledger: Ledger, scan: int, problems: dict[str, str], threads: int, deadline: float | None) -> None:
    altered = rehash(ledger, scan, problems.__setitem__, threads=threads, deadline=deadline)
    if altered:
        problems["paranoid"] = (
            f"{altered:,} files hold other bytes than on record, though their size and times are the same. "
            "They count as changed. If nobody changed them, the disk may be failing."
        )


def _mark_gone(ledger: Ledger, scan: int, source: Source, discovery: Discovery, problems: dict[str, str]) -> None:
    if source.kind in ("file", "list"):
        gone = sorted(discovery.notes.missing)
        if gone and not ledger.seen(scan):
            problems[source.place] = "none of its files is there. Nothing is marked as removed; is a disk not mounted?"
            return
        for path in gone:
            ledger.mark_path_gone(path)
            ledger.mark_gone(scan, path)
        return
    known = ledger.images_under(source.root)
    if known and not ledger.seen_under(scan, source.root):
        told = f"{problems[source.root]}; it " if source.root in problems else ""
        problems[source.root] = (
            f"{told}holds no image, but {known:,} are known from there. Nothing is marked as removed; is it mounted?"
        )
        return
    fitting = fits(source.place) if source.kind == "pattern" else None
    ledger.mark_gone(scan, source.root, unreadable=tuple(problems), fitting=fitting)

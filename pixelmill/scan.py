"""What the sources hold now, recorded beside what they held before."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pixelmill.images.discover import Source, discover, parse_source
from pixelmill.rehash import rehash
from pixelmill.store.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at the sources: its number in the ledger, images seen, files skipped, what could not be looked at (whole
    sources first); and the images seen below each source that is a folder."""

    number: int
    seen: int
    skipped: int
    problems: tuple[str, ...] = ()
    folders: Mapping[str, int] = field(default_factory=dict)


def scan_sources(
    ledger: Ledger, sources: Sequence[str], *, paranoid: bool = False, threads: int = 2, deadline: float | None = None
) -> Scan:
    """Walk `sources`, record what is there and mark what is gone. `paranoid`: what looks unchanged is hashed again.

    A folder that cannot be read, or that is empty though images were known there (a disk that is not mounted?), loses
    nothing: that is told as a problem instead.
    """
    problems: dict[str, str] = {}
    number = ledger.new_scan()
    discovery = discover(sources, known=ledger.is_known, on_problem=problems.__setitem__)
    ledger.record_scan(number, discovery)
    folders, parsed = {}, [parse_source(source) for source in sources]
    for source in parsed:
        if source.kind == "folder":
            folders[source.root] = ledger.seen_under(number, source.root)
        _mark_gone(ledger, number, source, problems)
    if paranoid:
        _rehash(ledger, number, problems, threads, deadline)
    whole = {"paranoid", *(name for source in parsed for name in (source.root, source.file))}
    ordered = sorted(problems.items(), key=lambda problem: problem[0] not in whole)
    told = tuple(f"{path}: {reason}" for path, reason in ordered)
    for problem in told:
        log.warning("%s", problem)
    return Scan(number, ledger.seen(number), discovery.skipped, told, folders)


def _rehash(ledger: Ledger, scan: int, problems: dict[str, str], threads: int, deadline: float | None) -> None:
    altered = rehash(ledger, scan, problems.__setitem__, threads=threads, deadline=deadline)
    if altered:
        problems["paranoid"] = (
            f"{altered:,} files hold other bytes than on record, though their size and times are the same. "
            "They count as changed. If nobody changed them, the disk may be failing."
        )


def _mark_gone(ledger: Ledger, scan: int, source: Source, problems: dict[str, str]) -> None:
    if source.kind != "folder":
        gone = [path for path in problems if not os.path.lexists(path)]
        if gone and not ledger.seen(scan):
            problems[source.file] = "none of its files is there. Nothing is marked as removed; is a disk not mounted?"
            return
        for path in gone:
            ledger.mark_path_gone(path)
        return
    known = ledger.images_under(source.root)
    if known and not ledger.seen_under(scan, source.root):
        problems[source.root] = (
            f"holds no image, but {known:,} are known from there. Nothing is marked as removed; is it mounted?"
        )
        return
    ledger.mark_gone(scan, source.root, unreadable=tuple(problems))

"""The companions of images that a scan meets, and what is told of them: nothing here loads what reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixelmill.sources.companions import Companion
from pixelmill.sources.found import FoundFile
from pixelmill.watch.hangs import Hang

if TYPE_CHECKING:
    from pixelmill.store.ledger import Ledger

_RECORDED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class BesideReport:
    """How many companions were `read`, and how many are left for the next run; how many of all cannot be read, wholly
    or in part, and a few `examples` of both with the reason; what there is to tell; and what hung."""

    read: int = 0
    left: int = 0
    unreadable: int = 0
    examples: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    hung: tuple[Hang, ...] = ()


def without_companions(ledger: Ledger, scan: int, files: Iterator[FoundFile]) -> Iterator[FoundFile]:
    """The images among files; the companions between them are recorded."""
    companions = list[Companion]()
    for file in files:
        if type(file) is not Companion:
            yield file
            continue
        companions.append(file)
        if len(companions) >= _RECORDED_AT_ONCE:
            ledger.beside.record(scan, companions)
            companions.clear()
    ledger.beside.record(scan, companions)

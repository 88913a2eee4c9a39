"""What came with images, read: companions that are new or have changed, by threads, none of which holds a run up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from pixelmill.embedding.reader import READS_AT_ONCE
from pixelmill.errors import ImageRejected, reason_of
from pixelmill.run.companions import BesideReport
from pixelmill.sources.archives import said_of_row
from pixelmill.sources.companions import ROW, Companion
from pixelmill.sources.reading import read_image
from pixelmill.sources.said import MOST_BYTES, Said, said_in
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import Hang, Unanswered, hanging
from pixelmill.watch.threads import Threads

if TYPE_CHECKING:
    from pixelmill.store.ledger import Ledger

_AT_ONCE = 500
"""Companions that are read before what they say is recorded: so much of it is in memory."""
_FEW = 5
"""So many that cannot be read are named."""
_LATE = "The deadline came: it is read by the next run."

_parsing = Lock()
"""One is parsed at a time: a hostile one may take a hundred times its bytes, and Python parses no two at once."""

Answer = Said | str
"""What a companion says, or why that cannot be had now."""


def read_beside(ledger: Ledger, *, deadline: float | None = None) -> BesideReport:
    """Read the companions of images that are new or have changed, and record what they say.

    One that cannot be had now waits for the next run, and says meanwhile what it said before; so do those of a source
    that hangs, and all others at the `deadline` (Unix seconds). In memory are never more than a few of them.
    """
    reading = _Reading(ledger, deadline)
    ledger.beside.look_again()
    for some in ledger.beside.to_read(_AT_ONCE):
        reading.read(some)
    unreadable, examples = ledger.beside.problems(_FEW)
    return BesideReport(
        reading.done, reading.left, unreadable, (*examples, *reading.examples), tuple(reading.told), tuple(reading.hung)
    )


@dataclass
class _Reading:
    """One look at the companions that wait."""

    ledger: Ledger
    deadline: float | None
    done: int = 0
    left: int = 0
    examples: list[str] = field(default_factory=list)
    told: dict[str, None] = field(default_factory=dict)
    hung: list[Hang] = field(default_factory=list)

    def read(self, some: Sequence[Companion]) -> None:
        """Read some of them, and record what they say."""
        answers = list[tuple[Companion, Said]]()
        for companion, said in self._answers(some):
            if isinstance(said, Said):
                answers.append((companion, said))
            else:
                self.left += 1
                self._name(companion, said)
        self.done += len(answers)
        if answers:
            self.ledger.beside.record_said(answers)

    def _answers(self, some: Sequence[Companion]) -> Iterator[tuple[Companion, Answer]]:
        waiting = list(some)
        while waiting:
            if past(self.deadline):
                yield from ((companion, _LATE) for companion in waiting)
                return
            made: list[tuple[Companion, Answer]] = []
            try:
                answer(partial(self._read, waiting, made), deadline=self.deadline)
            except Unanswered as silent:
                self.hung.append(silent.hang)
            done = list(made)
            yield from done
            waiting = waiting[len(done) :]
            if waiting:  # the first of them hangs, or the deadline came
                yield waiting[0], str(self.hung[-1]) if self.hung else _LATE
                waiting = waiting[1:]

    def _read(self, some: Sequence[Companion], made: list[tuple[Companion, Answer]]) -> None:
        """Read companions in order, by threads of their own: those of a call that is left may hang. What was `made` by
        then stays."""
        with Threads(READS_AT_ONCE, "beside") as pool:
            asked = [(one, None if one.kind == ROW or _hangs(one) else pool.submit(_said, one)) for one in some]
            try:
                for companion, future in asked:
                    if past(self.deadline):
                        return
                    begin("read", companion.absolute, companion.source)
                    made.append((companion, self._answer(companion, future)))
            finally:
                for _, future in asked[len(made) :]:
                    if future:
                        future.cancel()

    def _answer(self, companion: Companion, future: Future[Answer] | None) -> Answer:
        if future:
            return future.result()
        if _hangs(companion):
            return "its source does not answer"
        return _in_words(partial(self._row, companion))

    def _row(self, companion: Companion) -> Said:
        said, left_out = said_of_row(companion)
        if left_out:
            self.told[f"{companion.source}: columns of bytes are left out: {', '.join(left_out)}"] = None
        return said

    def _name(self, companion: Companion, why: str) -> None:
        if len(self.examples) < _FEW:
            self.examples.append(f"{companion.absolute}: {why}")


def _hangs(companion: Companion) -> bool:
    return bool(hanging(companion.source))


def _said(companion: Companion) -> Answer:
    """What a companion that is a file or a member says, or why it cannot be had now."""
    if not companion.size:
        return Said(origin=companion.kind)
    return _in_words(partial(_read_and_parsed, companion))


def _read_and_parsed(companion: Companion) -> Said:
    data = read_image(companion, max_bytes=MOST_BYTES)
    with _parsing:
        return said_in(companion.kind, data)


def _in_words(said: Callable[[], Said]) -> Answer:
    try:
        return said()
    except ImageRejected as error:
        return Said(problem=reason_of(error))
    except OSError as error:
        return reason_of(error)

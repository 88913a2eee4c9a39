"""Files that look unchanged, read and hashed again: by `run --paranoid`, against bit rot and forged times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from pixelmill.errors import ImageRejected, reason_of
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import digest_of
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import Hang, Unanswered
from pixelmill.watch.threads import Threads

if TYPE_CHECKING:
    from pixelmill.store.ledger import Ledger

_AT_ONCE = 1000
_CAME = "The deadline came: this file and those after it were not hashed again."

Problem = Callable[[str, str], None]


def rehash(
    ledger: Ledger, scan: int, on_problem: Problem, *, threads: int, max_bytes: int, deadline: float | None = None,
    on_hang: Callable[[Hang], None] = lambda _hang: None,
) -> int:  # fmt: skip
    """Hash the files of a scan whose content is on record; those that hold another now wait to be read. Their number.

    A file that cannot be read now, or lies elsewhere and is larger than `max_bytes`, stays as it is on record, and
    `on_problem` is told. What was looked at is on record
    every now and then: after a kill, or the `deadline` (Unix seconds), the next time begins where this one ended. In
    memory are never more than a few of the paths.
    """
    altered = 0
    with Threads(threads, "rehash") as pool:
        ask = partial(pool.submit, partial(_digest, max_bytes=max_bytes))
        for some in _batches(ledger, scan):
            first = some[0][0].absolute
            if past(deadline):
                on_problem(first, _CAME)
                return altered
            try:
                digests = answer(partial(_digests, ask, [file for file, _ in some], deadline), deadline=deadline)
            except Unanswered as silent:
                on_hang(silent.hang)
                on_problem(first, f"This file and those after it were not hashed again: {silent}")
                return altered
            if digests:
                altered += _compare(ledger, some[: len(digests)], digests, on_problem)
            if len(digests) < len(some):
                on_problem(some[len(digests)][0].absolute, _CAME)
                return altered
    ledger.worklist.set_rehashed("")
    return altered


def _digests(
    ask: Callable[[FoundFile], Future[bytes | str]], files: Sequence[FoundFile], deadline: float | None
) -> list[bytes | str]:
    """What the files hold, up to the one at which the deadline came."""
    asked = [(file, ask(file)) for file in files]
    digests = []
    for file, digest in asked:
        if past(deadline):
            for _, waiting in asked:
                waiting.cancel()
            break
        begin("read", file.absolute, file.source)
        digests.append(digest.result())
    return digests


def _batches(ledger: Ledger, scan: int) -> chain[list[tuple[FoundFile, int]]]:
    """The files of a scan with their rows, by path: from where the last time ended to the last, then up to there."""
    start = ledger.worklist.rehashed()
    return chain(ledger.worklist.known(scan, _AT_ONCE, after=start), ledger.worklist.known(scan, _AT_ONCE, until=start))


def _compare(
    ledger: Ledger, some: Sequence[tuple[FoundFile, int]], digests: Sequence[bytes | str], on_problem: Problem
) -> int:
    altered = []
    for (file, row), digest in zip(some, digests, strict=True):
        if isinstance(digest, str):
            on_problem(file.absolute, f"It could not be hashed again: {digest}.")
        elif ledger.contents.row_of(digest) != row:
            altered.append((file, row))
    ledger.worklist.record_altered(altered, last=some[-1][0])
    return len(altered)


def _digest(file: FoundFile, max_bytes: int) -> bytes | str:
    """The sha256 of a file, or why there is none."""
    try:
        return digest_of(file, max_bytes=max_bytes)
    except (OSError, ImageRejected) as error:
        return reason_of(error)

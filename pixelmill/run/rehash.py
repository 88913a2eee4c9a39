"""Files that look unchanged, read and hashed again: by `run --paranoid`, against bit rot and forged times."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from pixelmill.errors import ImageRejected
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import digest_of, is_elsewhere
from pixelmill.store.ledger import Ledger
from pixelmill.watch import Hang, Threads, Unanswered, answer, begin, past

_AT_ONCE = 1000
_CAME = "The deadline came: this file and those after it were not hashed again."
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Problem = Callable[[str, str], None]


def rehash(
    ledger: Ledger, scan: int, on_problem: Problem, *, threads: int, deadline: float | None = None,
    on_hang: Callable[[Hang], None] = lambda _hang: None,
) -> int:  # fmt: skip
    """Hash the files of a scan whose content is on record; those that hold another now wait to be read. Their number.

    A file that cannot be read now stays as it is on record, and `on_problem` is told. What was looked at is on record
    every now and then: after a kill, or the `deadline` (Unix seconds), the next time begins where this one ended. In
    memory are never more than a few of the paths.
    """
    altered = 0
    with Threads(threads, "rehash") as pool:
        for some in _batches(ledger, scan):
            first = some[0][0].absolute
            if past(deadline):
                on_problem(first, _CAME)
                return altered
            try:
                digests = answer(partial(_digests, pool, [file for file, _ in some], deadline), deadline=deadline)
            except Unanswered as silent:
                on_hang(silent.hang)
                on_problem(first, f"This file and those after it were not hashed again: {silent}")
                return altered
            if digests:
                altered += _compare(ledger, some[: len(digests)], digests, on_problem)
            if len(digests) < len(some):
                on_problem(some[len(digests)][0].absolute, _CAME)
                return altered
    ledger.set_rehashed("")
    return altered


def _digests(pool: Threads, files: Sequence[FoundFile], deadline: float | None) -> list[bytes | str]:
    """What the files hold, up to the one at which the deadline came."""
    asked = [(file, pool.submit(_digest, file)) for file in files]
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
    start = ledger.rehashed()
    return chain(ledger.contents(scan, _AT_ONCE, after=start), ledger.contents(scan, _AT_ONCE, until=start))


def _compare(
    ledger: Ledger, some: Sequence[tuple[FoundFile, int]], digests: Sequence[bytes | str], on_problem: Problem
) -> int:
    altered = []
    for (file, row), digest in zip(some, digests, strict=True):
        if isinstance(digest, str):
            on_problem(file.absolute, f"It could not be hashed again: {digest}.")
        elif ledger.row_of(digest) != row:
            altered.append((file, row))
    ledger.record_altered(altered, last=some[-1][0])
    return len(altered)


def _digest(file: FoundFile) -> bytes | str:
    """The sha256 of a file, or why there is none."""
    if not is_elsewhere(file):
        return _digest_here(file.absolute)
    try:
        return digest_of(file)
    except (OSError, ImageRejected) as error:
        return getattr(error, "strerror", None) or str(error)


def _digest_here(path: str) -> bytes | str:
    """The same of a file of this machine, which is read piece by piece."""
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, _OPEN)) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return "it is no regular file any more"
            digest = hashlib.file_digest(file, "sha256").digest()
            after = os.fstat(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    at_rest = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return digest if at_rest else "it was written to meanwhile"

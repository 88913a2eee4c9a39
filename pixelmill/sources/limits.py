"""How much a server lets itself be asked: one that says when to come back is left alone until then, by all threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 120.0
"""Seconds that a server may ask to be left alone for. What is asked of one that wants more waits for the next run."""
PATIENCE: Final = 300.0
"""A server that has answered nothing but refusals for so long is not waited for any more: like one that is down."""
_LEAST: Final = 0.5
_USUAL: Final = 2.0
_MOST_USUAL: Final = 30.0
"""Seconds to wait where a server refuses and does not say for how long: doubled each time, up to this."""
_DOWN: Final = 32
"""A server that failed so often at one method, one time after the other, is down: until it answers again one question
at a time is put to it, and whatever else would be asked meanwhile fails at once. A list of many files on a server that
is down must not hold a night up."""


class HostLimit:
    """What one server has said about being asked, for all threads.

    After a refusal (429, or 503 with a time) nobody asks until the time is over, and then few at once, more with each
    answer: a crowd that comes back at the same moment would only be refused again.
    """

    def __init__(self, at_once: int) -> None:
        self._most = self._at_once = at_once
        self._turn = threading.Condition()
        self._asking = Counter[str]()
        self._refusals = 0
        self._not_before = self._refused_since = 0.0
        self._failures = Counter[str]()

    def is_down(self, method: str) -> bool:
        """Whether the server has failed many times at a method, and since then never answered."""
        return self._failures[method] >= _DOWN

    @contextmanager
    def turn(self, method: str) -> Iterator[None]:
        """Wait until the server may be asked, and hold one of its places. Raises OSError where that takes too long."""
        with self._turn:
            while not self._may_ask(method):
                self._turn.wait(max(self._not_before - time.monotonic(), 0.0) or None)
            self._asking[method] += 1
        try:
            yield
        finally:
            with self._turn:
                self._asking[method] -= 1
                self._turn.notify_all()

    def _may_ask(self, method: str) -> bool:
        now, asking = time.monotonic(), self._asking.total()
        if self._not_before - now > LONGEST:
            raise OSError(f"the server wants to be left alone for {self._not_before - now:,.0f} s")
        hopeless = self._refusals > 0 and now - self._refused_since > PATIENCE
        if hopeless and (asking or now < self._not_before):
            raise OSError(f"the server has answered nothing but refusals for {now - self._refused_since:,.0f} s")
        if self.is_down(method) and self._asking[method]:
            raise OSError(f"the server has failed {_DOWN} times or more, one time after the other")
        return now >= self._not_before and asking < self._at_once

    def refused(self, seconds: float | None) -> None:
        """Take note that the server wants to be left alone, for so many `seconds` if it says so."""
        now = time.monotonic()
        with self._turn:
            if not self._refusals:
                self._refused_since = now
            self._refusals += 1
            usual = min(_USUAL * 2 ** min(self._refusals - 1, 8), _MOST_USUAL)
            self._not_before = max(self._not_before, now + (usual if seconds is None else max(seconds, _LEAST)))
            self._at_once = 1

    def answered(self, method: str) -> None:
        """Take note of an answer."""
        with self._turn:
            self._failures.pop(method, None)
            self._refusals = 0
            self._at_once = min(self._at_once + 1, self._most)

    def failed(self, method: str) -> None:
        """Take note that there was no answer, or one that says that the server is out of order."""
        with self._turn:
            self._failures[method] += 1


def wanted_wait(headers: Mapping[str, str]) -> float | None:
    """For how many seconds a server wants to be left alone (Retry-After: RFC 9110, 10.2.3); None if it does not say. A
    date counts from the one that the server has by its own clock."""
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said[:9])
    try:
        until = parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        now = time.time()
    return max(until - now, 0.0)


def is_refusal(status: int, wait: float | None) -> bool:
    """Whether an answer asks to come back later: 429 always, 503 where it says when."""
    return status == 429 or (status == 503 and wait is not None)

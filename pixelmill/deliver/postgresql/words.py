"""Errors of PostgreSQL in words: which may pass, and what to do about each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from pixelmill.errors import DeliveryError, DeliveryRefused, TargetUnavailable

_MOST: Final = 600
_PASSING: Final = ("08", "25006", "25P03", "25P04", "40", "53", "55P03", "57", "58030", "XX000")
"""What may pass, by the beginnings of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html). XX000
is what the server says, among other things, when it cannot make a file longer, or two change a definition at once."""
_PGVECTOR: Final = ("hnsw", "ivf", "vector", "halfvec")
"""How files of pgvector are called: what these say of XX000 is about an index that cannot be."""
_NOT_NOW: Final = re.compile(
    "resolve host|starting up|shutting down|recovery|accepting|too many|slots|terminat|timeout"
)
_NEVER: Final = re.compile("FATAL|password|authentication|certificate|support SSL|channel binding|GSS|invalid (?!host)")
"""Of a connection that is refused there is no SQLSTATE: FATAL is what the server says, the rest is libpq's."""
_ADVICE: Final = {
    "25006": "It may only be read now: a standby, or a database with default_transaction_read_only. With several hosts "
    "in the address, ?target_session_attrs=read-write finds the one that takes rows.",
    "42501": "Give the role of the address what it lacks: USAGE and CREATE on the schema, TEMPORARY on the database; "
    "tables of earlier deliveries have to be its own.",
    "42703": "Somebody has changed the table: drop it, and the next delivery makes it anew.",
    "42804": "Somebody has changed the table: drop it, and the next delivery makes it anew.",
    "42P01": "Somebody has changed it meanwhile: the next delivery looks again.",
    "42P07": "Give the delivery another name, or remove what is there.",
    "42710": "Give the delivery another name, or remove what is there.",
    "42701": "Two of the columns have one name there: leave one out.",
    "22P05": "Its encoding lacks a character: make the database with ENCODING 'UTF8'.",
    "22021": "Its encoding lacks a character: make the database with ENCODING 'UTF8'.",
    "23": "Rows as the store has them break a constraint that was put onto the table: drop the constraint.",
    "2BP01": "Drop what depends on it, deliver, and make it again.",
    "53100": "Its disk is full: make room. What was begun is undone.",
    "53300": "Raise max_connections, or leave it a connection.",
    "53400": "A limit of its configuration is reached.",
    "54000": "An index takes no text that long: index a part or a hash of it.",
    "55P03": "Others hold the table locked: end their transaction.",
    "55006": "Others hold the table in use: end their transaction.",
    "XX000": "If its disk is full, make room.",
    "XX001": "It has found its files damaged: see its log.",
    "XX002": "An index of it is damaged: REINDEX.",
}  # fmt: skip


class Words:
    """How errors of one target are told: as `shown`, whose password is in `variable`."""

    def __init__(self, shown: str, variable: str) -> None:
        self._shown, self._variable = shown, variable

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of the driver in the block become DeliveryErrors."""
        try:
            yield
        except psycopg.Error as error:
            raise self.of(error) from error

    def of(self, error: psycopg.Error) -> DeliveryError:
        """An error in words."""
        state, words = error.sqlstate or "", said(error)
        advice = next((_ADVICE[code] for code in (state, state[:2]) if code in _ADVICE), "")
        if not state and isinstance(error, psycopg.OperationalError):
            if _NOT_NOW.search(words) or not _NEVER.search(words):
                return TargetUnavailable(f"Expected an answer of {self._shown}. {words}")
            if re.search("password|authentication", words):
                advice = f"The password is taken from {self._variable}, else PGPASSWORD, ~/.pgpass or a service file."
        told = f"Expected {self._shown} to take a delivery. {words} {advice}".rstrip()
        passes = state.startswith(_PASSING) and not (error.diag.source_file or "").startswith(_PGVECTOR)
        return TargetUnavailable(told) if passes else DeliveryRefused(told)


def said(error: psycopg.Error) -> str:
    """What the server or the driver says; of details only what depends on what, for others quote rows."""
    words = error.diag.message_primary or _once(str(error))
    if error.sqlstate == "2BP01" and error.diag.message_detail:
        words = f"{words}: {error.diag.message_detail}"
    return f"PostgreSQL says: {' '.join(words.split())[:_MOST].rstrip('.?')}."


def _once(words: str) -> str:
    """Of each way that libpq has tried, with TLS and without, it says the same."""
    lines = (line.strip().removeprefix("connection failed: ") for line in words.splitlines())
    return "; ".join(dict.fromkeys(filter(None, lines)))

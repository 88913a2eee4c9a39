"""A table takes another one's place, with all that people have put onto that: indexes, grants, views and the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

import psycopg
from psycopg import sql

from pixelmill.deliver import base
from pixelmill.deliver.postgresql.carried import AFTER, BEFORE, NEVER, VIEWS
from pixelmill.deliver.postgresql.connection import Connection, written
from pixelmill.deliver.postgresql.words import said
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.watch.saying import saying

LOCKED_SECONDS: Final = 1.0
"""How long readers that come wait, at most, for a switch that waits for those that are there."""
REHEARSAL_SECONDS: Final = 0.1
_ROUNDS: Final = 5
_NAME: Final = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %(old)s
"""
Statements = list[tuple[str, str]]


class Switch:
    """From the table `old` to `new`, both oids, in one schema: the new one gets the other's `name`, that one is called
    `aside` for the moment in which it is dropped. `kept` are the columns of the old one that deliveries have made."""

    def __init__(
        self, connection: Connection, old: int | None, new: int | None, *, aside: str, kept: Iterable[str]
    ) -> None:
        self._connection, self._aside = connection, aside
        self._oids = {"old": old, "new": new, "kept": list(kept)}
        ((self._schema, self._name),) = connection.rows(_NAME, self._oids)

    def rehearse(self) -> None:
        """Do all, and undo it: what does not go is told before rows are sent. Raises DeliveryRefused."""
        try:
            with self._connection.rehearsal():
                self._lock(REHEARSAL_SECONDS)
                self._refuse()
                for what, statement in self._before():
                    self._carry(what, statement)
                self._exchange()
        except TargetUnavailable as error:
            if not _is_locked(error):
                raise

    def prepare(self) -> None:
        """Give the new table what takes long: each in a transaction of its own, so that a kill costs one. Raises
        DeliveryRefused."""
        for _ in range(_ROUNDS):
            self._refuse()
            statements = self._before()
            if not statements:
                return
            for what, statement in statements:
                with saying(f"Making {what} anew"), self._connection.transaction():
                    self._carry(what, statement)
        raise DeliveryRefused(
            f"Expected to give the new table {statements[0][0]}, as {self._name} has it. It comes out otherwise each "
            "time: drop it, and make it again when the delivery is done."
        )

    def make(self, changing: Callable[[], AbstractContextManager[None]], also: Callable[[], None]) -> None:
        """Let the new table take the old one's place, and do `also`, in one transaction, `changing`. Raises
        DeliveryRefused, and TargetUnavailable where others keep the table locked."""
        end = time.monotonic() + base.SECONDS
        while True:
            try:
                with changing():
                    self._lock(LOCKED_SECONDS)
                    self._refuse()
                    if not self._before():
                        self._exchange()
                        return also()
            except TargetUnavailable as error:
                if time.monotonic() > end or not _is_locked(error):
                    raise
                time.sleep(LOCKED_SECONDS)
            self.prepare()  # it has got something meanwhile

    def _refuse(self) -> None:
        """Raise DeliveryRefused, with what it is, for what the new table cannot be given."""
        found = [row[0] for row in self._connection.rows(NEVER, self._oids)]
        if found:
            raise DeliveryRefused(
                f"Expected {self._name} to have nothing that a new generation of its rows, a table of its own, cannot "
                f"be given. It has: {'; '.join(found)}. Nothing was changed, and readers have the generation from "
                "before: drop this, deliver, and make it again."
            )

    def _before(self) -> Statements:
        return [(what, told) for query in BEFORE for what, told in self._connection.rows(query, self._oids)]

    def _lock(self, seconds: float) -> None:
        """Views first, as those do who read by them."""
        views = [view for *_, view in self._connection.rows(VIEWS, self._oids)]
        table = sql.Identifier(self._schema, self._name).as_string()
        self._connection.execute(f"SET LOCAL lock_timeout = {round(seconds * 1000)}")
        self._connection.execute(f"LOCK TABLE {', '.join([*views, table])} IN ACCESS EXCLUSIVE MODE")

    def _exchange(self) -> None:
        """The new one gets its name, views see it, the old one is dropped, and what was on that is put on this."""
        views = [(what, told) for what, told, _ in self._connection.rows(VIEWS, self._oids)]
        after = [line for query in AFTER for line in self._connection.rows(query, self._oids)]
        ((_, new),) = self._connection.rows(_NAME, {"old": self._oids["new"]})
        for was, becomes in ((self._name, self._aside), (new, self._name)):
            self._connection.execute(
                sql.SQL("ALTER TABLE {} RENAME TO {}").format(
                    sql.Identifier(self._schema, was), sql.Identifier(becomes)
                )
            )
        for what, statement in views:
            self._carry(what, statement)
        self._connection.execute(written("DROP TABLE {old}", old=sql.Identifier(self._schema, self._aside)))
        for what, statement in after:
            self._carry(what, statement)

    def _carry(self, what: str, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except DeliveryRefused as error:
            words = said(error.__cause__) if isinstance(error.__cause__, psycopg.Error) else error
            raise DeliveryRefused(
                f"Expected to give {what} of {self._name} to the new generation of its rows. {words} Readers have the "
                "generation from before: drop or change it, and deliver again."
            ) from error


def _is_locked(error: TargetUnavailable) -> bool:
    return isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected)

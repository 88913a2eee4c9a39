"""A connection to PostgreSQL that neither its server nor a setting of its database can hold up for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from pixelmill.deliver import base
from pixelmill.deliver.address import EXAMPLES, shown_target
from pixelmill.deliver.delivery import VARIABLE, Delivery
from pixelmill.deliver.postgresql.words import Words
from pixelmill.errors import DeliveryRefused
from pixelmill.watch.calls import go_on

T = TypeVar("T")
Waiting = Generator[Any, Any, T]

_FORCED: Final = {"search_path": "", "row_security": "off"}
"""Names mean what they say, and rows that a policy would hide are an error."""
_KEEPALIVE: Final = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
_SET: Final = """
SELECT pg_catalog.set_config(s.name, given.value, %(local)s)
FROM pg_catalog.jsonb_each_text(%(given)s::jsonb) AS given(name, value)
JOIN pg_catalog.pg_settings AS s ON s.name = given.name WHERE s.source <> 'client' OR given.name = ANY(%(forced)s)
"""
_WHERE: Final = "SELECT pg_catalog.current_schema(), pg_catalog.current_database(), pg_catalog.pg_backend_pid()"


class _Watched(psycopg.Connection[TupleRow]):
    """Waits for an answer for as long as the server is there: it may be at work, on an index for hours."""

    address = ""

    def wait(self, gen: Waiting[T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._watched(gen), *args, **kwargs)

    def _watched(self, gen: Waiting[T]) -> Waiting[T]:
        try:
            state, since = next(gen), time.monotonic()
            while True:
                ready = yield state
                if ready:
                    since = time.monotonic()
                elif time.monotonic() - since >= base.SECONDS:
                    self._ask()
                    since = time.monotonic()
                state = gen.send(ready)
        except StopIteration as end:
            value: T = end.value
            return value

    def _ask(self) -> None:
        """Whether the server answers somebody else, if only to turn them away."""
        try:
            psycopg.connect(self.address, connect_timeout=_patience()).close()
        except psycopg.OperationalError as error:
            if "FATAL" not in str(error):
                self.pgconn.finish()  # or leaving the transaction would wait as long again
                raise psycopg.errors.ConnectionTimeout(f"no answer for {base.SECONDS:.0f} s") from None
        try:
            go_on()
        except BaseException:  # nobody waits for this any more
            self.pgconn.finish()
            raise


class _Raw(Loader):
    """A value as the server gives it."""

    format = psycopg.pq.Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class Connection:
    """A connection for one delivery, in transactions whose errors are told in words. `schema` is where its tables are,
    the first of the search path that the address or the role's settings give."""

    def __init__(self, delivery: Delivery) -> None:
        self.shown = shown_target(delivery.to)
        self.words = Words(self.shown, f"{VARIABLE}{delivery.name.upper()}")
        self.is_pooled = False
        address = _address(delivery)
        with self.words.told():
            self._connection = _Watched.connect(address, autocommit=True, prepare_threshold=None)
            self._connection.address = address
            schema, self.database, pid = self.one(_WHERE)
            self.is_pooled = pid != self._connection.info.backend_pid
            if not self.is_pooled:
                self._settle()
        if schema is None:
            self.close()
            raise DeliveryRefused(
                f"Expected a schema in {self.shown} where tables can be made. Its search path names none "
                "that is there: create one, or name it, as with ?options=-csearch_path%3Dphotos."
            )
        self.schema: str = schema

    def _settle(self) -> None:
        """Settings of this session, which is nobody else's."""
        self._set({**_settings(), **_KEEPALIVE}, local=False)
        with suppress(psycopg.Error):  # not on every system
            # What a process that is gone has asked for ends: the server would build its index to the end, and wait.
            self._set({"client_connection_check_interval": "10s"}, local=False)

    def _set(self, settings: dict[str, str], *, local: bool) -> None:
        given = Jsonb(settings)
        self._connection.execute(_SET, {"given": given, "forced": list(_FORCED), "local": local})

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """All that is done in the block, or nothing of it. Within another one, it can fail by itself."""
        with self.words.told(), self._connection.transaction():
            if self.is_pooled:
                self._set(_settings(), local=True)
            yield self._connection

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """With the settings that statements rely on: of a pooled session those of a transaction."""
        is_settled = not self.is_pooled or self._connection.info.transaction_status != TransactionStatus.IDLE
        with self.words.told() if is_settled else self.transaction():
            yield

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """All that is done in the block is undone."""
        with self.words.told(), self._connection.transaction(force_rollback=True):
            yield

    def execute(self, query: Any, parameters: Any = None) -> psycopg.Cursor[TupleRow]:
        """Carry a statement out, in a transaction of its own where there is none."""
        with self._settled():
            return self._connection.execute(query, parameters)

    def rows(self, query: Any, parameters: Any = None) -> list[TupleRow]:
        """What a query gives."""
        with self._settled():
            return self._connection.execute(query, parameters).fetchall()

    def one(self, query: Any, parameters: Any = None) -> TupleRow:
        """The one row that a query gives."""
        (row,) = self.rows(query, parameters)
        return row

    def copy_in(self, query: sql.Composed, pieces: Iterable[bytes]) -> None:
        """COPY … FROM STDIN."""
        with self.words.told(), self._connection.cursor().copy(query) as copy:
            for piece in pieces:
                copy.write(piece)

    def binary(self, query: sql.Composed, parameters: Any = None) -> list[TupleRow]:
        """What a query gives, each value as the bytes that the server has for it, None for null."""
        with self._settled():
            cursor = self._connection.cursor(binary=True)
            for kind in ("int8", "float8", "text", "timestamp"):
                cursor.adapters.register_loader(kind, _Raw)
            return cursor.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Let go of it, and of what it has claimed."""
        self._connection.close()


def _settings() -> dict[str, str]:
    """No limit on statements that work; one on the waiting for locks."""
    return {
        **_FORCED, "statement_timeout": "0", "transaction_timeout": "0", "lock_timeout": f"{base.SECONDS:.0f}s",
    }  # fmt: skip


def _patience() -> int:
    return max(2, round(base.SECONDS))  # libpq knows no less


def _address(delivery: Delivery) -> str:
    """As libpq takes it, with the password. Raises DeliveryRefused."""
    shown = shown_target(delivery.to)
    try:
        given = conninfo_to_dict(delivery.to)
    except psycopg.Error as error:
        raise DeliveryRefused(
            f"Expected an address of libpq, as {EXAMPLES['postgresql']}. Got {shown!r}: {str(error).strip()}"
        ) from None
    if {"password", "sslpassword"} & given.keys():
        raise DeliveryRefused(
            f"Expected an address without a password. Got one in {shown!r}: put it into "
            f"{VARIABLE}{delivery.name.upper()}, or into ~/.pgpass."
        )
    usual: dict[str, Any] = {
        "connect_timeout": _patience(), "tcp_user_timeout": round(base.SECONDS * 1000), "keepalives_idle": 30,
        "keepalives_interval": 10, "keepalives_count": 3, "fallback_application_name": "pixelmill",
    }  # fmt: skip
    if "PGCONNECT_TIMEOUT" in os.environ:
        del usual["connect_timeout"]
    secret = {} if delivery.password is None else {"password": delivery.password}
    return make_conninfo("", **{**usual, **given, **secret, "client_encoding": "utf8"})


def written(query: str, **parts: sql.Composable | int | None) -> sql.Composed:
    """A statement with names and numbers in the places of `{}`, quoted as they must be."""
    return sql.SQL(query).format(**parts)

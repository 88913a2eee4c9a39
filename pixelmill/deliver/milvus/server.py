"""Milvus's server, or Milvus Lite, as far as deliveries ask it: its client, and what is wrong in words."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from pymilvus import MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from pixelmill.deliver import base
from pixelmill.deliver.address import EXAMPLES, shown_target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.endpoint import Endpoint, variable_of
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.watch.calls import go_on

T = TypeVar("T")
PORT: Final = 19530
_LOST: Final = 2
"""The code of an error of a connection."""
_GONE: Final = 100
_LATER: Final = {2, 3, 4, 7, 8, 9, 11, 12, 103, 106, 202, 503, 604, 901, 902, 903, 905, 1807}
_NOT_YOU: Final = {1400, 1401, 1800}
"""Codes of Milvus (`pkg/util/merr`): what was asked for is not there; not ready, too much, full; who is not let in."""
_AGAIN: Final = 5.0
"""Seconds for which a lost server is asked again: for some a client refuses by itself."""
_PASSES: Final = re.compile(
    r"no space|too large|disk|read.only|quota|rate limit|unavailable|time.?out|deadline|not ready|not serviceable",
    re.I,
)
_FILE: Final = re.compile("open local milvus failed$", re.I)
_LOGIN: Final = re.compile(r"unauthenticated|not authenticated|auth check|permission|privilege|invalid token", re.I)
_LOOK: Final = 0.2


class NotThere(TargetUnavailable):
    """What was asked for is not there (any more)."""


class MilvusServer:
    """A server, by its own client; whatever does not answer as it should is TargetUnavailable or DeliveryRefused."""

    def __init__(self, delivery: Delivery) -> None:
        for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
            # Each error would print a traceback, with what was sent.
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self.shown, self._variable = shown_target(delivery.to), variable_of(delivery)
        given = _connection(delivery)
        self._file = _not_open(given["uri"])
        self._token = str(given.get("token", ""))
        self._client = self.reached(lambda: MilvusClient(**given, timeout=base.SECONDS))

    def close(self) -> None:
        """A file of Milvus Lite is locked by its server, which would be there as long as this process."""
        with suppress(MilvusException, grpc.RpcError):
            self._client.close()
        if self._file:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self._file)

    @property
    def client(self) -> MilvusClient:
        """For what asks no server."""
        return self._client

    def asked(self, what: str, *given: Any, **options: Any) -> Any:
        """What a method of the client answers, in time."""
        with self._in_words():
            return getattr(self._client, what)(*given, timeout=base.SECONDS, **options)

    def pages(self, name: str, condition: str, fields: list[str], rows: int) -> Iterator[list[dict[str, Any]]]:
        """All that fulfils a condition, so many rows at a time."""
        asked = {"filter": condition, "output_fields": fields, "batch_size": rows}
        found = self.asked("query_iterator", name, **asked)
        while True:
            with self._in_words():
                page = found.next()
            if not page:
                found.close()
                return
            yield page

    def load(self, name: str) -> None:
        """Have a collection loaded, if it is not: until then it answers nothing. That may take long, and goes on while
        more of it is loaded. One that is loaded is left so, with as many replicas as people have given it."""
        most, end, state = -1, 0.0, self.asked("get_load_state", name)
        if state["state"] not in (LoadState.Loaded, LoadState.Loading):
            self.asked("load_collection", name, _async=True)
            state = self.asked("get_load_state", name)
        while state["state"] != LoadState.Loaded:
            if state.get("progress", 0) > most:
                most, end = state.get("progress", 0), time.monotonic() + base.SECONDS
            if time.monotonic() > end:
                raise TargetUnavailable(
                    f"Expected Milvus at {self.shown} to load {name}. For {base.SECONDS:.0f} s it has been at {most}%: "
                    "see whether it has memory for it. The next delivery goes on."
                )
            time.sleep(_LOOK)
            state = self.asked("get_load_state", name)

    def reached(self, ask: Callable[[], T]) -> T:
        """What `ask` gives, asked again while no server is reached: a client refuses for a while after one was lost."""
        end = time.monotonic() + min(_AGAIN, base.SECONDS)
        while True:
            try:
                with self._in_words():
                    return ask()
            except TargetUnavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(_LOOK)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Errors of the client in words. They do not go along: what was sent stands in some of them. An answer says
        that a call goes on, which may take many."""
        try:
            yield
            go_on()
        except MilvusException as error:
            raise self._explained(error.code, str(error.message)) from None
        except grpc.RpcError as error:
            code = getattr(error, "code", lambda: None)()
            refused = code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            raise self._explained(1400 if refused else _LOST, f"{getattr(code, 'name', code)}") from None
        except (OSError, grpc.FutureTimeoutError) as error:
            raise self._explained(_LOST, str(error) or type(error).__name__) from None

    def _explained(self, code: int, reason: str) -> TargetUnavailable | DeliveryRefused:
        words = " ".join(reason.split()).rstrip(".")[:300]
        if is_locked := bool(_FILE.search(words)):
            words += ": another process may have the file open"
        words = words.replace(self._token, "***") if self._token else words
        if code in _NOT_YOU or (code != _LOST and _LOGIN.search(words)):
            return DeliveryRefused(
                f"Expected the token of Milvus at {self.shown}, and that it may write there. "
                f"{'It does not take the one given' if self._token else 'None was given'} ({words}): set "
                f"{self._variable}."
            )
        if code == _GONE:
            return NotThere(
                f"Expected what this delivery made in {self.shown}. It is gone: {words}. Something else has deleted "
                "it: the next delivery makes it anew."
            )
        if code in _LATER or _PASSES.search(words) or is_locked:
            return TargetUnavailable(
                f"Expected Milvus at {self.shown} to answer within {base.SECONDS:.0f} s and to take a delivery. It "
                f"says: {words}. What is there stays; see to that, and the next delivery goes on."
            )
        return DeliveryRefused(f"Expected Milvus at {self.shown} to take a delivery. It says: {words}.")


def _not_open(uri: str) -> str:
    """The file of Milvus Lite that a client is to open which nobody in this process has open; '' for others."""
    if not uri.endswith(".db"):
        return ""
    from milvus_lite.server_manager import server_manager_instance

    return "" if str(Path(uri).absolute()) in server_manager_instance._servers else uri


def _connection(delivery: Delivery) -> dict[str, Any]:
    """What the client is made with: of a server its address, database and token, of Milvus Lite the path of a file."""
    place, shown, password = delivery.to.partition(":")[2], shown_target(delivery.to), delivery.password or ""
    if not place.startswith("//"):
        if not place.endswith(".db"):
            raise DeliveryRefused(
                f"Expected a file of Milvus Lite to end with .db, as milvus:/data/vectors.db. Got {shown!r}."
            )
        return {"uri": place}
    endpoint = Endpoint.of(delivery.to, port=PORT, secure_port=PORT)
    if len(endpoint.path) > 1 or ":" in endpoint.host:
        raise DeliveryRefused(
            f"Expected {EXAMPLES['milvus']}, or with a database behind it: /database; by a name or IPv4, since its "
            f"client knows no IPv6. Got {shown!r}."
        )
    token = f"{endpoint.user}:{password}" if endpoint.user else password
    return {"uri": endpoint.url, "token": token, "db_name": "".join(endpoint.path)}

"""Chroma's server, as far as deliveries ask it: version 2 of its REST.

Chroma's own client waits for ever, takes settings from a `.env` that lies about, and its package keeps each one for as
long as the process lives.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from pixelmill.deliver import base
from pixelmill.deliver.address import EXAMPLES, shown_target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.endpoint import Endpoint, token_of, variable_of
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.watch.calls import go_on

PORT: Final = 8000
DEFAULT: Final = ("default_tenant", "default_database")
KNOWN: Final = "pixelmill"
"""The key in a collection's metadata under which stands what is known of it."""
MOST: Final = 2048
"""Rows that are sent or asked for at a time: the server puts them into its index before it answers."""
_BYTES: Final = 8 << 20
"""A larger request is cut in two: a server takes 40 MB, what stands before it perhaps less."""
_HNSW: Final = ("ef_search", "ef_construction", "max_neighbors", "resize_factor", "sync_threshold")
"""What may be set of a collection's index."""
_LISTED: Final = 100
_CONNECT: Final = 15.0
_LATER: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_NOT_YOU: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
Metadata = Mapping[str, int | float | str | None]


class NotThere(TargetUnavailable):
    """What was asked for is not there (any more)."""


class TooLarge(DeliveryRefused):
    """A request has more bytes than it may."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection: its lasting id, its name, what deliveries know of it (None if no delivery made it), and what is
    set of its index."""

    id: str
    name: str
    known: str | None
    hnsw: Mapping[str, Any]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As the server tells it."""
        hnsw = (told.get("configuration_json") or {}).get("hnsw") or {}
        set_of_it = {name: hnsw[name] for name in _HNSW if hnsw.get(name) is not None}
        return cls(told["id"], told["name"], _known(told.get("metadata")), set_of_it)


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a collection as it is kept there."""

    id: str
    metadata: Mapping[str, Any]
    vector: NDArray[np.float32]


class ChromaServer:
    """One database of a server. Whatever does not answer as it should is TargetUnavailable or DeliveryRefused."""

    def __init__(self, delivery: Delivery) -> None:
        self.shown, self._variable = shown_target(delivery.to), variable_of(delivery)
        endpoint = Endpoint.of(delivery.to, port=PORT)
        if len(endpoint.path) == 1:
            raise DeliveryRefused(
                f"Expected {EXAMPLES['chroma']}, or with a tenant and a database at its end: /tenant/database. "
                f"Got {self.shown!r}."
            )
        self._tenant, self._database = endpoint.path[-2:] or DEFAULT
        tenant, database = (quote(name, safe="") for name in (self._tenant, self._database))
        before = "".join(f"/{quote(name, safe='')}" for name in endpoint.path[:-2])
        self._base, self._home = f"{endpoint.url}{before}/api/v2", f"/tenants/{tenant}/databases/{database}"
        self._client = httpx.Client(headers=self._headers(endpoint, delivery))
        self._can: Mapping[str, Any] = {}
        self._bytes = _BYTES

    def close(self) -> None:
        self._client.close()

    def collections(self, prefix: str) -> list[Collection]:
        """Those whose name begins so, or is that."""
        try:
            found = [Collection.of(one) for one in self._listed()]
        except (TypeError, AttributeError, KeyError) as error:
            raise DeliveryRefused(f"Expected {self.shown} to be Chroma. It answers with something else.") from error
        except NotThere:
            found = []
        if not found:  # of a database that is not there nothing is listed either
            self._check_database()
        return [one for one in found if one.name.startswith(prefix)]

    def known(self, name: str) -> str | None:
        """What deliveries know of a collection; None if none made it, or if it is not there."""
        try:
            return _known(self._ask("GET", f"{self._home}/collections/{name}").get("metadata"))
        except NotThere:
            return None

    def create(self, name: str, known: str, hnsw: Mapping[str, Any]) -> Collection:
        """A new collection, compared by cosine, with an index as is said."""
        told = {"name": name, "metadata": {KNOWN: known}, "configuration": {"hnsw": {**hnsw, "space": "cosine"}}}
        return Collection.of(self._ask("POST", f"{self._home}/collections", told))

    def change(self, collection: str, *, name: str | None = None, known: str | None = None) -> None:
        """Give a collection another name, or other knowledge, or both at once."""
        told = {"new_name": name, "new_metadata": None if known is None else {KNOWN: known}}
        self._ask("PUT", f"{self._home}/collections/{collection}", told)

    def delete(self, name: str) -> None:
        """Drop a collection, if it is there."""
        try:
            self._ask("DELETE", f"{self._home}/collections/{name}")
        except NotThere:
            return

    def count(self, collection: str) -> int:
        return int(self._ask("GET", f"{self._home}/collections/{collection}/count"))

    def get(self, collection: str, what: Mapping[str, Any], *, vectors: bool = False) -> Iterator[Record]:
        """The rows that `what` says: of some `ids`, or `where` their metadata fulfil something."""
        include = ["metadatas", "embeddings"] if vectors else ["metadatas"]
        for start in range(0, 1 << 62, MOST):
            told = {**what, "include": include, "limit": MOST, "offset": start}
            found = self._ask("POST", f"{self._home}/collections/{collection}/get", told)
            ids, none = found["ids"], [()] * len(found["ids"])
            for one, metadata, vector in zip(ids, found["metadatas"], found["embeddings"] or none, strict=True):
                yield Record(one, metadata or {}, np.array(vector, np.float32))
            if len(ids) < MOST:
                return

    def upsert(self, collection: str, ids: Sequence[str], vectors: np.ndarray, metadata: Sequence[Metadata]) -> None:
        """Write rows whose vectors are float32 (n, dim). Of metadata, None takes a key away."""
        told = {"ids": ids, "embeddings": self._encoded(vectors), "metadatas": metadata}
        body = json.dumps(told).encode()
        most, half = min(MOST, self._about()["max_batch_size"]), len(ids) // 2
        if half and (len(ids) > most or len(body) > self._bytes):
            self.upsert(collection, ids[:half], vectors[:half], metadata[:half])
            self.upsert(collection, ids[half:], vectors[half:], metadata[half:])
            return
        try:
            self._ask("POST", f"{self._home}/collections/{collection}/upsert", body)
        except TooLarge:
            if not half:
                raise
            self._bytes = len(body) // 2
            self.upsert(collection, ids, vectors, metadata)

    def remove(self, collection: str, ids: Sequence[str]) -> None:
        """Delete rows, as far as they are there."""
        for start in range(0, len(ids), MOST):
            told = {"ids": ids[start : start + MOST]}
            self._ask("POST", f"{self._home}/collections/{collection}/delete", told)

    @staticmethod
    def _headers(endpoint: Endpoint, delivery: Delivery) -> dict[str, str]:
        """Who asks: a user with a password, or a token, in the two headers where it is looked for."""
        headers = {"Content-Type": "application/json", "User-Agent": "pixelmill"}
        if endpoint.user:
            login = base64.b64encode(f"{endpoint.user}:{delivery.password or ''}".encode()).decode()
            return {**headers, "Authorization": f"Basic {login}"}
        token = token_of(delivery)
        return {**headers, "Authorization": f"Bearer {token}", "X-Chroma-Token": token} if token else headers

    def _encoded(self, vectors: np.ndarray) -> list[str] | list[list[float]]:
        if not self._about().get("supports_base64_encoding"):
            listed: list[list[float]] = vectors.tolist()
            return listed
        return [base64.b64encode(vector).decode() for vector in np.ascontiguousarray(vectors, "<f4")]

    def _about(self) -> Mapping[str, Any]:
        self._can = self._can or {"max_batch_size": MOST, **self._ask("GET", "/pre-flight-checks")}
        return self._can

    def _listed(self) -> Iterator[Any]:
        for start in range(0, 1 << 62, _LISTED):
            page = self._ask("GET", f"{self._home}/collections?limit={_LISTED}&offset={start}")
            yield from page
            if len(page) < _LISTED:
                return

    def _check_database(self) -> None:
        try:
            self._ask("GET", self._home)
        except NotThere as error:
            raise DeliveryRefused(
                f"Expected {self.shown} to be Chroma 1.0 or newer, with the tenant {self._tenant!r} and in it the "
                f"database {self._database!r}. It has none: make it there, or correct the address."
            ) from error

    def _ask(self, method: str, path: str, told: Mapping[str, Any] | bytes | None = None) -> Any:
        content = told if isinstance(told, bytes | None) else json.dumps(told).encode()
        timeout = httpx.Timeout(base.SECONDS, connect=min(base.SECONDS, _CONNECT))
        try:
            answer = self._client.request(method, self._base + path, content=content, timeout=timeout)
        except httpx.TimeoutException as error:
            raise TargetUnavailable(
                f"Expected an answer of {self.shown} within {base.SECONDS:g} s. There was none."
            ) from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise TargetUnavailable(f"Expected {self.shown} to answer. It cannot be reached: {reason}.") from error
        go_on()  # what asks may have to ask many times
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> Any:
        status = answer.status_code
        if answer.is_success:
            try:
                return answer.json()
            except ValueError as error:
                raise DeliveryRefused(f"Expected {self.shown} to be Chroma. It answers with no JSON.") from error
        reason = _reason(answer)
        if status in _NOT_YOU:
            raise DeliveryRefused(
                f"Expected {self.shown} to let this delivery in. It does not: {reason}. {self._variable} is the token, "
                "or the password of the user in the address."
            )
        if status == HTTPStatus.NOT_FOUND:
            raise NotThere(f"Expected what this delivery made in {self.shown}. It is gone: {reason}.")
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise TooLarge(
                f"Expected {self.shown} to take a row at once. It does not: {reason}. Raise how much it takes, or what "
                "stands before it, or leave the longest column out."
            )
        if answer.is_server_error or status in _LATER:
            raise TargetUnavailable(f"Expected {self.shown} to do what it was asked. It cannot now: {reason}.")
        raise DeliveryRefused(f"Expected {self.shown} to do what it was asked. It does not: {reason}.")


def _known(metadata: Mapping[str, Any] | None) -> str | None:
    known = (metadata or {}).get(KNOWN)
    return known if isinstance(known, str) else None


def _reason(answer: httpx.Response) -> str:
    """What the server says, or the name of its status: what lies between may answer with anything."""
    try:
        told = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        told = f"{answer.status_code} {answer.reason_phrase}"
    return str(told).strip().rstrip(".")[:300]

"""What Qdrant, or what stands before it, may answer, and where it may be."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import httpx
import pytest

from pixelmill.deliver.deliver import check, deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.qdrant.words import QdrantServer
from pixelmill.errors import DeliveryError, DeliveryRefused, TargetUnavailable
from tests.support.between import LOST, Asked, between
from tests.support.delivered import ROWS, store_of_blocks
from tests.support.engines import Qdrant

SECRET = "k3y-of-qdrant"
HTML = b"<html>" + SECRET.encode() + b"</html>"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of_blocks(tmp_path / "store")


_names = (f"answers_{number}" for number in count())


@pytest.fixture
def name() -> str:
    """Of a delivery that nobody else makes."""
    return next(_names)


def delivery_at(port: int, name: str, path: str = "") -> Delivery:
    return Delivery(name=name, to=f"qdrant://127.0.0.1:{port}{path}", models=("a",))


def at(
    method: str, end: str, answer: tuple[int, bytes] | tuple[int, bytes, dict[str, str]]
) -> Callable[[Asked], object]:
    """Answers so to what ends so."""
    return lambda asked: answer if asked.method == method and asked.path.partition("?")[0].endswith(end) else None


def told(error: str) -> bytes:
    return b'{"status": {"error": "' + error.encode() + b'"}, "time": 0.1}'


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((500, told("No space left")), TargetUnavailable, "answers 500: No space left. What is there stays"),
        ((503, HTML), TargetUnavailable, "answers 503: Service Unavailable."),
        ((429, told("Too many")), TargetUnavailable, "answers 429: Too many."),
        ((429, told("Too many"), {"Retry-After": "1"}), TargetUnavailable, "There was none: Too many."),
        ((429, b"", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), TargetUnavailable, "There was none: "),
        ((LOST, b""), TargetUnavailable, "There was none: Server disconnected"),
        ((200, HTML), DeliveryRefused, "What answers there is something else: see whether the address is right"),
        ((302, HTML), DeliveryRefused, "answers 302: Found."),
        ((401, HTML), DeliveryRefused, "It does not take the one given: set PIXELMILL_PASSWORD_ANSWERS_"),
        ((403, told("Forbidden")), DeliveryRefused, "answers 403: Forbidden. Give the delivery a key that may write"),
        ((404, HTML), DeliveryRefused, "answers 404: Not Found. See whether the address is right"),
        ((404, told("Not found: Collection `x` doesn't exist!")), TargetUnavailable, "Something else has deleted it"),
        ((413, HTML), DeliveryRefused, "answers 413: .* Raise how much it takes at once"),
        ((400, told("Bad")), DeliveryRefused, "answers 400: Bad."),
    ],
)
def test_whatever_is_answered_is_told_in_words(
    store: Path, qdrant: Qdrant, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    answer: tuple[int, bytes], kind: type[DeliveryError], words: str,
) -> None:  # fmt: skip
    """By an error that says whether to try again, never with the key; and the next delivery goes on."""
    monkeypatch.setenv("QDRANT_API_KEY", SECRET)
    caplog.set_level(0)
    with between(qdrant.port, at("PUT", "/points", answer)) as port, pytest.raises(DeliveryError, match=words) as error:
        deliver(store, delivery_at(port, name))
    assert type(error.value) is kind
    shown = "".join(traceback.format_exception(error.value)) + str(error.value.delivered) + caplog.text
    assert SECRET not in shown
    assert deliver(store, delivery_at(qdrant.port, name)).is_equal


@pytest.mark.parametrize(
    ("to", "url"),
    [
        ("qdrant://db", "http://db:6333"),
        ("qdrant+https://db", "https://db:6333"),
        ("qdrant+https://db:443/", "https://db:443"),
        ("qdrant://[::1]:9", "http://[::1]:9"),
        ("qdrant+https://db:443/vectors/one/", "https://db:443/vectors/one"),
    ],
)
def test_where_it_is(to: str, url: str) -> None:
    """Host and port, with TLS or without, and a path of what stands before it."""
    assert QdrantServer(Delivery(name="search", to=to, models=("a",))).client.http.client.host == url


@pytest.mark.parametrize(
    "to", ["qdrant://app@db", "qdrant://db?x=1", "qdrant://db:x", "qdrant:db", "qdrant://a b", "qdrant://app:s3cret@db"]
)
def test_what_is_no_address_is_refused(to: str) -> None:
    """A user too: there are none."""
    with pytest.raises(DeliveryRefused, match=r"^Expected (a host behind qdrant://|no user in )") as error:
        QdrantServer(Delivery(name="search", to=to, models=("a",)))
    assert "s3cret" not in str(error.value)


def test_behind_a_path(store: Path, qdrant: Qdrant, name: str) -> None:
    """A proxy that has it under a path is asked there."""

    def under_a_path(asked: Asked) -> tuple[int, bytes] | None:
        if not asked.path.startswith("/vectors/"):
            return 404, b""
        asked.path = asked.path.removeprefix("/vectors")
        return None

    with between(qdrant.port, under_a_path) as port:
        assert deliver(store, delivery_at(port, name, "/vectors/")).is_equal


def test_what_takes_little_at_a_time_is_given_little(store: Path, qdrant: Qdrant, name: str) -> None:
    """A proxy that takes 3 kB a request is given as many requests as it takes."""
    sent: list[int] = []

    def small(asked: Asked) -> tuple[int, bytes] | None:
        if asked.method == "PUT" and asked.path.partition("?")[0].endswith("/points"):
            sent.append(len(asked.body))
            return (413, b"<html>") if sent[-1] > 3_000 else None
        return None

    with between(qdrant.port, small) as port:
        assert deliver(store, delivery_at(port, name)).sent == ROWS
    assert len([size for size in sent if size <= 3_000]) > 2
    assert not check(store, delivery_at(qdrant.port, name), full=True).differences


def test_requests_are_those_of_the_documentation(qdrant: Qdrant) -> None:
    """The server of these tests reads bodies by the request models of Qdrant's client, which know what Qdrant does: a
    setting that there is not is refused."""
    url = f"http://127.0.0.1:{qdrant.port}/collections/refused"
    told = {"vectors": {"size": 3, "distance": "Dot"}}
    assert httpx.put(url, json={**told, "hnsw": {"m": 3}}).status_code == 400
    assert (
        httpx.put(f"{url}/points", json={"batch": {"ids": [1], "vectors": [[1, 2, 3]], "payload": []}}).status_code
        == 400
    )
    assert httpx.put(url, json=told).status_code == 200
    httpx.delete(url)

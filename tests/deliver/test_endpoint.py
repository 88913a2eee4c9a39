"""Addresses of servers that vectors are delivered to."""

from __future__ import annotations

import pytest

from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.endpoint import Endpoint
from pixelmill.deliver.targets import open_target
from pixelmill.errors import DeliveryRefused


def test_what_an_address_says() -> None:
    """Host, port, TLS, user and names behind are read; without a port it is the usual one, with TLS that of HTTPS."""
    assert Endpoint.of("chroma://db", port=8000) == Endpoint("db", 8000, False, "", ())
    assert Endpoint.of("chroma+https://a%40b@db/x/y%20z/", port=8000) == Endpoint("db", 443, True, "a@b", ("x", "y z"))
    assert Endpoint.of("chroma://[::1]:9", port=8000).url == "http://[::1]:9"
    assert Endpoint.of("chroma+https://db", port=8000).url == "https://db:443"
    assert Endpoint.of("qdrant+https://db", port=6333, secure_port=6333).url == "https://db:6333"
    assert Endpoint.of("chroma://db/x/y%20z/", port=8000).prefix == "/x/y%20z"


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("chroma:/data", "Expected a host behind chroma://, as chroma://host:8000. Got 'chroma:/data'."),
        ("chroma://host:many", "Expected a host behind chroma://"),
        ("chroma://host?tenant=x", "Expected a host behind chroma://"),
        ("chroma://a host", "Expected a host behind chroma://"),
        (
            "chroma://host/photos",
            "with a tenant and a database at its end: /tenant/database. Got 'chroma://host/photos'.",
        ),
    ],
)
def test_addresses_that_are_none(to: str, words: str) -> None:
    """One without a host, with a port that is no number, with settings or half a place is refused with an example."""
    with pytest.raises(DeliveryRefused) as error:
        open_target(Delivery(name="search", to=to, models=("a",)))
    assert words in str(error.value)

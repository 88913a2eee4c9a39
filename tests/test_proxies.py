"""The environment's proxies, against a server on this machine and httpx's own reading of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from pixelmill.errors import SettingsError
from pixelmill.proxies import check_proxies, settle_proxies

NOBODY = "127.0.0.1:9"


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def here() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "")  # so that what is set here is taken away again
    monkeypatch.setenv("no_proxy", "")


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks", "SOCKS"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("around", [{}, {"NO_PROXY": ".corp"}, {"no_proxy": "[fd00::1],fd00::/8, .corp"}], ids=str)
def test_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, here: str, name: str, scheme: str, around: dict[str, str]
) -> None:
    """Whatever proxy is named, in whatever spelling, and whoever else is reached without one."""
    monkeypatch.setenv(name, f"{scheme}://{NOBODY}")
    for variable, value in around.items():
        monkeypatch.setenv(variable, value)
    settle_proxies(os.environ)
    check_proxies(os.environ)
    assert httpx.get(here).status_code == 204
    with pytest.raises(httpx.TransportError):
        httpx.get("http://elsewhere.example", timeout=5)
    assert all(".corp" in os.environ[n] for n in ("NO_PROXY", "no_proxy") if around)


def test_without_proxies_nothing_is_touched() -> None:
    """NO_PROXY stays as it is."""
    environment = {"NO_PROXY": "[::1]"}
    settle_proxies(environment)
    assert environment == {"NO_PROXY": "[::1]"}


@pytest.mark.parametrize("proxy", ["socks4://user:secret@proxy:1080", "http://proxy:port", "direct://"])
def test_a_proxy_that_nobody_can_use_is_named(proxy: str) -> None:
    """With the variable and the kind; a password is not shown."""
    with pytest.raises(SettingsError, match="Expected HTTPS_PROXY to be a proxy") as refused:
        check_proxies({"HTTPS_PROXY": proxy})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "proxy:3128", "socks5://user:secret@proxy:1080", ""])
def test_a_proxy_that_can_be_used_is_left_alone(proxy: str) -> None:
    """As it is for every other client."""
    environment = {"HTTPS_PROXY": proxy}
    settle_proxies(environment)
    check_proxies(environment)
    assert environment["HTTPS_PROXY"] == proxy

"""Which way a download takes, and what it shows on the way: proxies, logins, tokens, and no word of them afterwards."""

from __future__ import annotations

import base64
import logging
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pixelmill import catalog
from pixelmill.cli.main import main
from pixelmill.errors import WeightsError, WeightsUnavailable
from pixelmill.models.base import WeightsSource
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import path_under
from tests.support.server import WeightsServer

HUB = WeightsSource("https://huggingface.co/gated/repo/resolve/main/model.safetensors")
TOKEN = "hf_sentinel_that_must_not_be_seen"
DOCUMENT = Path(__file__).parents[3] / "docs" / "weights.md"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WeightsServer]:
    path_under(tmp_path / "upstream", HUB.url).write_bytes(b"w" * 1000)
    with WeightsServer(tmp_path / "upstream").running() as running:
        yield running


class Proxy(ThreadingHTTPServer):
    """A forward proxy: it passes on what names a host that only it can reach, and remembers what it was asked."""

    def __init__(self, behind: str) -> None:
        self.asked: list[tuple[str, str]] = []
        self.behind = behind
        super().__init__(("127.0.0.1", 0), _Passing)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Passing(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
        straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with straight.open(self.server.behind + urlsplit(self.path).path) as answer:
            body = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def proxy(server: WeightsServer) -> Iterator[Proxy]:
    passing = Proxy(server.url)
    thread = threading.Thread(target=passing.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield passing
    passing.shutdown()
    passing.server_close()


def test_proxies_are_used_as_everywhere(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that only the proxy of HTTP_PROXY reaches is reached, with the login of its address, and NO_PROXY keeps
    others away from it."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://me:secret@"))
    behind = WeightsCache(tmp_path / "a", mirrors={"*": "http://weights.invalid"})
    assert behind.fetch(HUB).path.read_bytes() == b"w" * 1000
    login = base64.b64encode(b"me:secret").decode()
    assert proxy.asked == [
        ("http://weights.invalid/huggingface.co/gated/repo/resolve/main/model.safetensors", f"Basic {login}")
    ]
    monkeypatch.setenv("NO_PROXY", "weights.invalid")
    with pytest.raises(WeightsUnavailable) as caught:
        WeightsCache(tmp_path / "b", mirrors=behind.mirrors).fetch(HUB)
    assert len(proxy.asked) == 1
    assert "secret" not in str(caught.value)


def test_a_mirrors_login_is_that_of_netrc(
    tmp_path: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password come from the file that NETRC names, for the hosts named there."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    WeightsCache(tmp_path / "a", mirrors={"*": server.url}).fetch(HUB)
    assert server.requests[0].authorization == f"Basic {base64.b64encode(b'me:secret').decode()}"
    (tmp_path / "netrc").write_text("machine example.org login me password secret\n")
    server.requests.clear()
    WeightsCache(tmp_path / "b", mirrors={"*": server.url}).fetch(HUB)
    assert {request.authorization for request in server.requests} == {""}


def test_the_token_stays_with_the_hub(tmp_path: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub sends on to another host's storage, the token does not go along."""
    storage = WeightsServer(server.folder)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/huggingface.co")
    server.redirect_to = storage.url.replace("127.0.0.1", "localhost")
    with storage.running():
        assert WeightsCache(tmp_path / "cache").fetch(HUB).path.read_bytes() == b"w" * 1000
    assert [request.authorization for request in server.requests] == [f"Bearer {TOKEN}"]
    assert [request.authorization for request in storage.requests] == [""]


@pytest.mark.parametrize("trouble", ["401", "403", "404", "500", "cut off", "none"])
def test_the_token_is_nowhere_afterwards(
    trouble: str, tmp_path: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Whatever the hub answers, neither output, logs nor files hold the token that it was shown."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/huggingface.co")
    server.behaviour.status = int(trouble) if trouble.isdecimal() else 0
    server.behaviour.cut_after = [0, 0, 0] if trouble == "cut off" else []
    Path("pixelmill.toml").write_text(
        f'[models.gated]\nbackend = "torchvision"\narchitecture = "resnet18"\ncheckpoint = "{HUB.url}"\n'
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(SystemExit) as stop:
        main(["pull", "gated"])
    assert (stop.value.code == 0) == (trouble == "none")
    assert server.requests[0].authorization == f"Bearer {TOKEN}"
    told = capfd.readouterr()
    assert TOKEN not in told.out + told.err + caplog.text
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in content for content in kept)


@pytest.mark.parametrize(
    "given", ['[weights]\nmirrors = "https://me:secret@mirror/"', '[weights.mirrors]\n"*" = "http://secret@mirror"',
              '[models.own]\nbackend = "timm"\narchitecture = "a"\ncheckpoint = "https://me:secret@host/a.pth"'],
)  # fmt: skip
def test_a_password_in_an_address_is_refused_without_showing_it(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses travel to workers and into messages: a login belongs into ~/.netrc, and the message does not repeat it."""
    Path("pixelmill.toml").write_text(given)
    with pytest.raises(SystemExit) as stop:
        main(["models", "--json"])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "netrc" in told
    assert "secret" not in told


def test_a_signature_in_an_address_is_not_shown(tmp_path: Path, server: WeightsServer) -> None:
    """Of an own checkpoint's signed URL, messages and records leave the query out."""
    signed = WeightsSource("https://storage.example/own.pth?X-Signature=secret")
    cache = WeightsCache(tmp_path / "cache", mirrors={"*": server.url})
    with pytest.raises(WeightsError) as caught:
        cache.fetch(signed)
    assert "secret" not in str(caught.value)
    path_under(server.folder, "https://storage.example/own.pth").write_bytes(b"w")
    cache.fetch(signed)
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_every_hub_is_in_the_documents_table_of_mirrors() -> None:
    """Who sets up mirrors finds each host that the catalog asks."""
    hosts = {urlsplit(source.url).netloc for spec in catalog.all_models() for source in spec.files} - {""}
    table = DOCUMENT.read_text("utf-8")
    assert not [host for host in hosts if f"`{host}`" not in table]

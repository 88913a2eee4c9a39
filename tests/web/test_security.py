"""Each promise of security, by an attempt to break it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pixelmill.images import decode
from pixelmill.web.assets import FOLDER as STATIC
from pixelmill.web.gallery import Limits
from pixelmill.web.security import HEADERS, RateLimit, kept_secret
from pixelmill.web.security import client_of as client_of_scope
from tests.support.hostile_images import files
from tests.web.conftest import ClientOf, Collection

TOKEN = "a-token-of-many-letters"
PICTURE = (Path(__file__).parents[2] / "examples/images/sea/far.webp").read_bytes()
ANSWERS = (
    "/",
    "/api/store",
    "/api/images/0",
    "/api/images/0/thumbnail",
    "/api/images/99999",
    "/nothing",
    "/static/main.js",
    "/openapi.json",
)


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    """Good ones and errors alike: nothing from elsewhere, no frames, no guessing of types, no referrer."""
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value or (
            name == "Content-Security-Policy" and "sandbox" in answer.headers[name]
        )
    assert "server" not in answer.headers


def test_an_error_of_ours_has_the_headers_and_tells_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that nobody foresaw is a problem without a traceback."""
    monkeypatch.setattr("pixelmill.web.api.store.warnings_for", lambda _: 1 / 0)
    answer = client.get("/api/store")
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No address of another host, no inline script or style, which the policy would refuse, no eval."""
    for path in STATIC.iterdir():
        text = path.read_text()
        assert not re.search(
            r"(src|href)=\"(https?:)?//|url\(|@import|\beval\(|innerHTML|\son\w+=\"|\sstyle=\"", text
        ), path
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        # A link that a person may follow is no request of the page: tests/web/test_browser_known.py sees to that.
    known = {"http://www.w3.org", *({"https://www.openstreetmap.org"} if path.name == "known.js" else ())}
    assert set(re.findall(r"https?://[\w.]+", text)) <= known, path


@pytest.mark.parametrize(
    "path",
    [
        "/api/images/..%2f..%2f..%2fetc%2fpasswd", "/api/images/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/app.py", "/static/....//app.py", "/api/images/-1", "/api/images/1e3", "/api/images/0x1",
        "/api/images/99999999999999999999", "/api/uploads/..%2fx/thumbnail", "/static//etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(client: TestClient, path: str) -> None:
    """Only numbers of rows and names of the page's own files are taken."""
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert b"root:" not in answer.content
    assert b"FastAPI" not in answer.content


def test_a_link_that_took_a_files_place_is_not_followed_to_another_content(
    collection: Collection, client_of: ClientOf, tmp_path: Path
) -> None:
    """What the store's own path leads to is served only if it is the row's content."""
    linked = collection.copied(tmp_path)
    client = client_of(linked)
    secret = tmp_path / "secret.png"
    secret.write_bytes((collection.photos / "tiles" / "blue.png").read_bytes() + b"secret")
    row = client.get("/api/rows", params={"glob": "sea/far.webp"}).json()["pictures"][0]["row"]
    (linked.photos / "sea" / "far.webp").unlink()
    (linked.photos / "sea" / "far.webp").symlink_to(secret)
    answer = client.get(f"/api/images/{row}")
    assert answer.status_code == 410
    assert b"secret" not in answer.content


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "[", "192.168.0.7"],
)
def test_another_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    """A page elsewhere that makes its name lead here (DNS rebinding) reads nothing."""
    answer = client.get("/api/rows", headers={"Host": host})
    assert answer.status_code == 421
    assert "pictures" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "photos.example"])
def test_names_of_this_machine_and_the_url_of_the_settings_are_taken(
    collection: Collection, client_of: ClientOf, host: str
) -> None:
    """With any port."""
    client = client_of(collection, url="https://photos.example/")
    assert client.get("/api/rows", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://localhost.evil.example"]
)
def test_another_site_cannot_post(client: TestClient, origin: str) -> None:
    """A form elsewhere that sends pictures here is refused; the page's own is not."""
    assert client.post("/api/uploads", content=PICTURE, headers={"Origin": origin}).status_code == 403
    assert client.post("/api/uploads", content=PICTURE, headers={"Origin": "http://localhost"}).status_code == 201


@pytest.mark.parametrize(
    "path",
    [
        "/api/store",
        "/api/rows",
        "/api/images/0",
        "/api/images/0/thumbnail",
        "/openapi.json",
        "/api/nothing",
        "/api/uploads",
    ],
)
def test_without_the_token_nothing_is_told(collection: Collection, client_of: ClientOf, path: str) -> None:
    """No token, a wrong one, one that is longer, a made-up cookie: 401, whatever is asked for."""
    client = client_of(collection, token=TOKEN)
    attempts = (
        {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "}, {"Cookie": f"pixelmill={TOKEN}"}, {"Cookie": "pixelmill="},
    )  # fmt: skip
    for headers in attempts:
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_for_scripts_and_browsers(collection: Collection, client_of: ClientOf) -> None:
    """As a header; or once at /api/session for a cookie that no script reads, no other site sends, and that is not the token."""
    client = client_of(collection, token=TOKEN)
    assert client.get("/").status_code == client.get("/static/main.js").status_code == 200, "the empty page asks for it"
    assert client.get("/api/rows", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.post("/api/session", json={"token": "wrong"}).status_code == 401
    opened = client.post("/api/session", json={"token": TOKEN})
    assert opened.status_code == 204
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/rows").status_code == 200


def test_guessing_the_token_is_slowed_down(collection: Collection, client_of: ClientOf) -> None:
    """After some attempts the answer is when to try again, to the right token too."""
    client = client_of(collection, token=TOKEN, limits=Limits(token_tries_per_minute=3))
    tried = [client.post("/api/session", json={"token": f"guess {i}"}).status_code for i in range(4)]
    assert tried == [401, 401, 401, 429]
    answer = client.post("/api/session", json={"token": TOKEN})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def bearer(client: TestClient, token: str) -> int:
    """What a request with a token is answered."""
    return client.get("/api/rows", headers={"Authorization": f"Bearer {token}"}).status_code


def test_guessing_is_slowed_down_whichever_way_the_token_is_handed_in(
    collection: Collection, client_of: ClientOf
) -> None:
    """Guesses as a header and at /api/session count together, at any path; after them the right one is not looked at."""
    client = client_of(collection, token=TOKEN, limits=Limits(token_tries_per_minute=4))
    assert [bearer(client, TOKEN) for _ in range(9)] == [200] * 9, "who has it may ask as often as he likes"
    assert [bearer(client, f"guess {i}") for i in range(3)] == [401] * 3
    assert client.post("/api/session", json={"token": "guess 3"}).status_code == 401
    for path in ("/api/rows", "/api/images/0", "/openapi.json", "/nothing"):
        answer = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.post("/api/session", json={"token": TOKEN}).status_code == 429
    assert client.get("/api/rows").status_code == 401, "who guesses nothing is told what is missing"


def test_a_cookie_lets_in_while_others_guess_and_is_no_guess_itself(
    collection: Collection, client_of: ClientOf, tmp_path: Path
) -> None:
    """Made of a secret that only the server has: not of the token alone. It outlives a restart, not another token."""
    client = client_of(collection, token=TOKEN, limits=Limits(token_tries_per_minute=2))
    cookie = client.post("/api/session", json={"token": TOKEN}).cookies["pixelmill"]
    client.cookies.clear()
    with_cookie = {"Cookie": f"pixelmill={cookie}"}
    for _ in range(20):
        assert client.get("/api/rows", headers={"Cookie": f"pixelmill={'0' * 64}"}).status_code == 401
    assert [bearer(client, "wrong") for _ in range(3)] == [401, 401, 429]
    assert client.get("/api/rows", headers=with_cookie).status_code == 200
    assert cookie == client_of(collection, token=TOKEN).post("/api/session", json={"token": TOKEN}).cookies["pixelmill"]
    assert client_of(collection, token=f"{TOKEN}2").get("/api/rows", headers=with_cookie).status_code == 401
    secret = tmp_path / "thumbnails" / "session.key"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert kept_secret(secret.parent) == secret.read_bytes()
    secret.chmod(0o644)
    assert kept_secret(secret.parent) != secret.read_bytes(), "others may have read it"
    assert len(kept_secret(secret / "no folder")) == 32


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::9", True), ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True), ("10.0.0.1", "10.0.0.2", False), ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)  # fmt: skip
def test_a_network_is_one_client(one: str, another: str, same: bool) -> None:
    """Of IPv6 whoever has an address has 2**64 of them, each of which would have tries of its own."""
    assert (client_of_scope({"client": (one, 1)}) == client_of_scope({"client": (another, 1)})) is same
    assert client_of_scope({"client": None}) == client_of_scope({"client": ("", 0)})


def test_an_upload_that_is_too_large_is_not_read(collection: Collection, client_of: ClientOf) -> None:
    """Told beforehand or found out on the way, it is refused at the limit; one below it is not."""
    client = client_of(collection, limits=Limits(upload_bytes=len(PICTURE)))
    sent = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal sent
        while sent < 100 * len(PICTURE):
            sent += 1000
            yield b"x" * 1000

    assert client.post("/api/uploads", content=PICTURE + b"x").status_code == 413
    assert client.post("/api/uploads", content=endless()).status_code == 413
    assert client.post("/api/uploads", content=PICTURE).status_code == 201


def test_uploads_are_rationed(collection: Collection, client_of: ClientOf) -> None:
    """So many a minute, then 429 with when to try again."""
    client = client_of(collection, limits=Limits(uploads_per_minute=2))
    assert [client.post("/api/uploads", content=PICTURE).status_code for _ in range(3)] == [201, 201, 429]


def test_a_ration_fills_up_again_and_is_each_clients_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 a minute are one a second."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = RateLimit(60)
    assert [limit.admit("a") for _ in range(60)] == [0] * 60
    assert limit.admit("a") == pytest.approx(1)
    assert limit.admit("b") == 0
    now += 2.5
    assert [limit.admit("a") == 0 for _ in range(3)] == [True, True, False]


def test_a_hostile_upload_is_told_and_costs_nothing_else(client: TestClient) -> None:
    """What is no picture, a bomb, or cut off is refused in words; the next request is answered."""
    some = {name: data for name, data in files() if name in ("html", "bomb", "icc bomb", "gif bomb", "empty", "eps")}
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    answers = {n: client.post("/api/uploads", content=d) for n, d in {**some, "svg": svg, "cut": PICTURE[:300]}.items()}
    refused = {name for name, answer in answers.items() if answer.status_code == 422 and answer.json()["detail"]}
    assert refused == set(answers) - {"icc bomb"}, "a bomb in the metadata does not cost the picture"
    assert client.post("/api/uploads", content=PICTURE).status_code == 201


def test_a_picture_that_kills_its_decoder_leaves_the_server_alive(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that decodes dies; the answer says so, and the server goes on."""
    killer = tmp_path / "killer"
    killer.mkdir()
    (killer / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'pixelmill.images.sandbox_process' in ' '.join(sys.orig_argv):\n"
        "    from PIL import WebPImagePlugin as W\n"
        "    W.WebPImageFile.load = lambda self: os.abort()\n"
    )
    from pixelmill.images.sandbox_pool import end_idle_decoders

    end_idle_decoders()
    monkeypatch.setenv("PYTHONPATH", str(killer))
    answer = client.post("/api/uploads", content=PICTURE)
    assert answer.status_code == 422
    assert "crashed" in answer.json()["detail"]
    monkeypatch.delenv("PYTHONPATH")
    end_idle_decoders()
    assert client.post("/api/uploads", content=PICTURE).status_code == 201


@pytest.mark.parametrize("path", ["rows", "facets", "search"])
@pytest.mark.parametrize(
    "where", ["length(repeat('a', 1000000000)) > 1", "list_sum(range(1000000000)) > 1", "path IN (SELECT '/etc')",
              "width > 1) OR (read_text('/etc/passwd') != ''", "getenv('HOME') != ''"],
)  # fmt: skip
def test_a_condition_takes_no_memory_and_reaches_nothing(client: TestClient, path: str, where: str) -> None:
    """Refused in words before anything is computed, alone and beside another one."""
    for conditions in ([where], ["width > 1", where]):
        answer = client.get(f"/api/{path}", params={"where": conditions, **({"row": "0"} if path == "search" else {})})
        assert answer.status_code == 422
        assert "Expected a condition" in answer.json()["detail"]


def test_a_file_that_is_no_picture_any_more_never_gets_to_a_browser(
    collection: Collection, client_of: ClientOf
) -> None:
    """Nor one that is in quarantine: an HTML page called .jpg stays where it is."""
    client = client_of(collection)
    for entry in client.get("/api/quarantine").json()["entries"]:
        if entry["row"] is not None:
            answer = client.get(f"/api/images/{entry['row']}")
            assert answer.status_code == 422
            assert "html" not in answer.headers["content-type"]


def test_a_name_cannot_break_the_headers(collection: Collection, client_of: ClientOf, tmp_path: Path) -> None:
    """A file's name with quotes, line breaks and bytes that are no UTF-8 is served, escaped."""
    odd = collection.copied(tmp_path)
    name = os.fsdecode(b'a"\r\nX-Evil: 1;\xff.webp')
    (odd.photos / name).write_bytes(PICTURE + b"\0")
    odd.run()
    client = client_of(odd)
    picture = client.get("/api/rows", params={"limit": 1}).json()["pictures"][0]
    assert "X-Evil" in picture["name"]
    assert "\n" not in picture["name"]
    answer = client.get(picture["file"])
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["content-disposition"].isascii()


def test_the_decoder_is_the_guarded_one(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is decoded in the server's own process."""
    monkeypatch.setattr(decode, "opened", lambda *_: pytest.fail("decoded in the server"))
    assert client.get("/api/images/3/thumbnail", params={"size": "160"}).status_code == 200
    assert client.post("/api/uploads", content=PICTURE).status_code == 201

"""The page's own files are kept by browsers until they change, and no longer."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.testclient import TestClient

from pixelmill.web.assets import FOLDER, content_hash, read_files


def test_the_pages_files_may_be_kept_for_good(client: TestClient) -> None:
    """The page is asked for each time, and names them by what is in them; modules find each other there."""
    page = client.get("/")
    assert page.headers["cache-control"] == "no-cache"
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert len(addresses) >= 4
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.content == (FOLDER / address.rsplit("/", 1)[1]).read_bytes()
    main = next(address for address in addresses if address.endswith("main.js"))
    for name in re.findall(r'from "\./(\w+\.js)"', client.get(main).text):
        assert client.get(f"{main.rsplit('/', 1)[0]}/{name}").status_code == 200


def test_only_the_right_hash_may_be_kept(client: TestClient) -> None:
    """Without one a file is asked for again; another one is not there, so nothing wrong is kept under it."""
    assert client.get("/static/main.js").headers["cache-control"] == "no-cache"
    wrong = client.get("/static/0123456789abcdef/main.js")
    assert wrong.status_code == 404
    assert "immutable" not in wrong.headers.get("cache-control", "")
    assert client.get(f"/static/{content_hash(read_files(FOLDER))}/").status_code == 404
    missing = client.get(f"/static/{content_hash(read_files(FOLDER))}/nothing.js")
    assert (missing.status_code, missing.headers.get("cache-control")) == (404, "no-store")


def test_the_hash_changes_with_any_file(tmp_path: Path) -> None:
    """With what is in it, with its name, and with one more."""
    seen = {content_hash(read_files(tmp_path))}
    for change in (
        lambda: (tmp_path / "a.js").write_text("one"), lambda: (tmp_path / "a.js").write_text("two"),
        lambda: (tmp_path / "a.js").rename(tmp_path / "b.js"), lambda: (tmp_path / "c.css").write_text(""),
    ):  # fmt: skip
        change()
        found = content_hash(read_files(tmp_path))
        assert found not in seen
        seen.add(found)
    assert content_hash(read_files(tmp_path)) == found

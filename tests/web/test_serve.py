"""`pixelmill serve`: where it listens, what it refuses, that it answers."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest

from pixelmill.cli.main import main
from pixelmill.search.warm import key_of
from tests.support.gallery import served
from tests.web.conftest import Collection

TOKEN = "a-token-of-many-letters"


def told(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and words of a command that fails."""
    with pytest.raises(SystemExit) as stop:
        main(["serve", *arguments])
    return int(stop.value.code or 0), capfd.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "gallery.example"])
def test_other_machines_need_a_token(collection: Collection, capfd: pytest.CaptureFixture[str], host: str) -> None:
    """Without one, nothing that they may reach is listened on; the words say how to make one."""
    code, words = told(capfd, str(collection.store), "--host", host)
    assert code == 2
    assert "PIXELMILL_WEB__TOKEN=" in words


@pytest.mark.parametrize("token", ["short", "with blanks in it, many", "ümlaute-are-no-ascii"])
def test_a_bad_token_is_refused_and_not_repeated(
    collection: Collection, capfd: pytest.CaptureFixture[str], token: str
) -> None:
    """One that can be guessed, or that no header can carry. What it was is not told to logs."""
    code, words = told(capfd, str(collection.store), "--token", token)
    assert code == 2
    assert token not in words


def test_no_store_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """As every command does."""
    code, words = told(capfd, "nothing")
    assert code == 1
    assert "nothing" in words


def test_a_port_that_is_taken_is_told(collection: Collection, capfd: pytest.CaptureFixture[str]) -> None:
    """With what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, words = told(capfd, str(collection.store), "--port", str(other.getsockname()[1]))
    assert code == 2
    assert "in use" in words
    assert "--port" in words


def test_it_serves_until_it_is_stopped(collection: Collection) -> None:
    """On this machine alone, by default; with a token in the environment it asks for that; searches of this user find
    it as long as it runs; Ctrl-C is a good end."""
    variables = {"PIXELMILL_WEB__TOKEN": TOKEN, "XDG_RUNTIME_DIR": mkdtemp(prefix="px")}
    sockets = Path(variables["XDG_RUNTIME_DIR"], "pixelmill")
    with served([str(collection.store), "--port", "0"], **variables) as (address, _):
        (announced,) = sockets.iterdir()
        assert announced.name.startswith(key_of(collection.searcher().store.manifest.store_id))
        assert address.startswith("http://127.0.0.1:")
        assert httpx.get(address).status_code == 200
        assert httpx.get(f"{address}/api/rows").status_code == 401
        rows = httpx.get(f"{address}/api/rows", headers={"Authorization": f"Bearer {TOKEN}"})
        assert rows.json()["images"] > 20
        assert "server" not in rows.headers
    sockets.rmdir()


def test_heads_that_learn_from_labels_are_told(collection: Collection, tmp_path: Path) -> None:
    """By the column that they learn from, as the settings have them; and that nobody may give labels."""
    config = tmp_path / "pixelmill.toml"
    config.write_text(
        '[web]\nlabels = false\n[heads.guess]\nkind = "linear"\nmodel = "efficientnet_lite0"\ncolumn = "animal"\n'
        '[heads.tone]\nkind = "zero_shot"\nmodel = "openai_clip_vit_b32"\nlabels = ["warm", "cold"]\n'
    )
    with served([str(collection.store), "--port", "0", "--config", str(config)]) as (address, _):
        found = httpx.get(f"{address}/api/labels").json()
    assert found["heads"] == {"animal": ["guess"]}
    assert "labels = false" in found["why_not"]

"""docs/know.md is true: its blocks are run one after the other, and each command says what the page says it does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from pixelmill.cli.main import cli
from pixelmill.images.decode import DecodeOptions
from pixelmill.models.weights import WeightsCache
from pixelmill.search.searcher import Searcher
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.web.app import make_app
from pixelmill.web.gallery import Gallery, Limits
from tests.support.examples import ROOT

PAGE = (ROOT / "docs/know.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)


def follow(page: list[tuple[str, str]]) -> None:
    """Do what each block says, in the working directory."""
    for kind, text in page:
        if kind == "python":
            exec(compile(text, "know.md", "exec"), {})
        elif kind == "toml":
            with Path("pixelmill.toml").open("a") as settings:
                settings.write(f"\n{text}")
        else:
            for command in text.removeprefix("$ ").split("\n$ "):
                type_in(*command.splitlines())


def type_in(command: str, *told: str) -> None:
    """Run one command, which has to succeed and to say, whatever else, the lines that stand below it."""
    program, *arguments = shlex.split(command)
    if program == "curl":
        return send(*arguments)
    assert program == "pixelmill"
    outcome = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, f"{command}\n{outcome.output}"
    said = re.sub(r"\s+", " ", outcome.output)
    for line in told:
        assert line in said, f"{command}\n{outcome.output}"


def send(_: str, header: str, __: str, body: str, address: str) -> None:
    """What curl sends, to a gallery of the page's store."""
    name, _, value = header.partition(": ")
    searcher = Searcher("collection", cache=WeightsCache(Path("weights")))
    gallery = Gallery(searcher, cache=Path("thumbnails"), options=DecodeOptions(), limits=Limits())
    with TestClient(make_app(gallery), base_url=address.partition("/api")[0]) as client:
        answer = client.post(f"/api{address.partition('/api')[2]}", content=body, headers={name: value})
    assert answer.status_code == 200, answer.text


def test_the_walk_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder to an evaluated, labelled collection without look-alikes."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    follow(BLOCKS)
    assert verify(Path("collection")) == []
    store = Store("collection")
    hours = dict(zip((path.decode() for path in store.paths), store.columns["hour_learnt"], strict=True))
    assert [hours[path] for path in ("city/midnight.webp", "sea/morning.jpg")] == ["night", "day"]
    assert "mAP" in Path("compared.html").read_text()
    assert Path("keep.csv").read_text().count("\n") == 7
    assert len(store) == 35
    assert store.present.sum() == 32

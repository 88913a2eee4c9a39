"""`pixelmill search` as people and scripts meet it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelmill.search.query import Picture, Row, Text
from pixelmill.search.searcher import Searcher
from tests.support.checkpoints import TinyModels
from tests.support.commands import code
from tests.support.searchable import prepared


@pytest.fixture
def here(made: Path, tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a link to the store, and settings that know its models."""
    Path("store").symlink_to(made / "store")
    return prepared(made, tiny, monkeypatch)


def answer(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capfd.readouterr()
    assert code("search", "store", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def test_json_has_the_documented_shape(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One object on stdout: model, and results with row, path and score, best first."""
    found = answer(capfd, "--text", "a red circle", "-k", "3")
    assert found["model"] in ("tiny_openai_clip", "tiny_open_clip")
    assert len(found["results"]) == 3
    assert {"row", "path", "score", "source", "width", "height", "copies"} <= set(found["results"][0])
    scores = [result["score"] for result in found["results"]]
    assert scores == sorted(scores, reverse=True)


def test_a_minus_subtracts(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`--text -word`, `--image -file` and `--row -N` turn the scores of that term round."""
    for option, value in (("--text", "word"), ("--image", str(here / "photos/warm/red.png")), ("--row", "0")):
        plus = answer(capfd, option, value, "--model", "tiny_openai_clip", "--copies", "-k", "100")
        minus = answer(capfd, option, f"-{value}", "--model", "tiny_openai_clip", "--copies", "-k", "100")
        scores = {result["row"]: -result["score"] for result in minus["results"]}
        for result in plus["results"]:
            assert result["score"] == pytest.approx(scores[result["row"]], abs=1e-5)


def test_terms_have_weights(here: Path, searcher: Searcher, capfd: pytest.CaptureFixture[str]) -> None:
    """Scores are those of the sum of the unit vectors by their weights, for words, pictures and rows alike."""
    model, red = "tiny_openai_clip", here / "photos/warm/red.png"
    terms = ("--row", "2:0", "--image", f"-0.5:{red}", "--text", "3:a circle")
    (hit,) = answer(capfd, *terms, "--model", model, "-k", "1")["results"]
    unit = {term: searcher.vector([term], [model]).vector for term in (Row(0), Text("a circle"), Row(hit["row"]))}
    picture = searcher.vector([Picture(red.read_bytes())], [model]).vector
    query = 2 * unit[Row(0)] - 0.5 * picture + 3 * unit[Text("a circle")]
    assert hit["score"] == pytest.approx(unit[Row(hit["row"])] @ query / np.linalg.norm(query), abs=1e-5)


def test_a_condition_leaves_what_fulfils_it(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--where is SQL over what is known of pictures."""
    found = answer(capfd, "--row", "-0", "--where", "path LIKE 'cold/%' AND width < 1000", "--copies")["results"]
    assert {hit["path"] for hit in found} == {"cold/green.png", "cold/blue.png", "cold/grey.png"}


def test_the_chosen_model_is_said_aloud(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without --model, stderr says which one searches; the table names files."""
    assert code("search", "store", "--text", "anything") == 0
    captured = capfd.readouterr()
    assert re.search(r"Searching with tiny_open(ai)?_clip\.", captured.err)
    assert "photos/warm/red.png" in captured.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Expected something to search for"),
        (("--text", "a", "--model", "tiny_resnet18"), "In this store these do: tiny_open_clip, tiny_openai_clip"),
        (("--text", "a", "--model", "tiny_openai_clop"), "Did you mean 'tiny_openai_clip'"),
        (("--image", "missing.jpg"), "missing.jpg"),
        (("--image", "pixelmill.toml"), "Expected an image"),
        (("--row", "many"), "Expected a row's number"),
        (("--text", "a", "--since", "yesterday"), "yesterday"),
        (("--text", "a", "--where", "widht > 3"), "width"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    here: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """What the user must change is named on stderr, without a traceback."""
    assert code("search", "store", *arguments) == 2
    captured = capfd.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_sheet_is_one_file_with_everything_in_it(
    place: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contact sheet holds upright thumbnails, escapes names, survives missing files and refers to nothing else."""
    monkeypatch.chdir(place)
    prepared(place, tiny, monkeypatch)
    (place / "photos/cold/blue.png").unlink()
    assert code("search", "store", "--text", "<b>blue & co</b>", "--sheet", "out.html", "--copies", "-k", "50") == 0
    page = Path("out.html").read_text("utf-8")
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)]
    sizes = [Image.open(io.BytesIO(data)).size for data in pictures]
    assert len(pictures) == 6
    assert (240, 160) in sizes
    assert "No such file" in page
    assert "&lt;b&gt;blue &amp; co&lt;/b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|<script|https?:", page)


def test_an_ensemble_is_kept_searched_exported_and_dropped(
    here: Path, made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`ensemble` keeps models under a name; search and export take the name; `info` tells it; `--drop` forgets it."""
    Path("store").unlink()
    shutil.copytree(made / "store", "store")
    assert code("ensemble", "store", "both", "--models", "tiny_openai_clip,tiny_open_clip", "--weights", "0.7,0.3") == 0
    assert "tiny_openai_clip x 0.7, tiny_open_clip x 0.3" in capfd.readouterr().out
    named = answer(capfd, "--text", "a circle", "--model", "both")
    listed = answer(capfd, "--text", "a circle", "--model", "tiny_openai_clip,tiny_open_clip", "--weights", "0.7,0.3")
    assert named["results"] == listed["results"]
    assert code("export", "store", "both.npy", "--models", "both") == 0
    assert np.load("both.npy").shape == (7, 88)
    capfd.readouterr()
    assert code("info", "store", "--json") == 0
    assert json.loads(capfd.readouterr().out)["ensembles"][0]["name"] == "both"
    assert code("ensemble", "store", "both", "--drop") == 0
    assert code("ensemble", "store", "both") == 2
    assert code("search", "store", "--text", "a", "--model", "both") == 2

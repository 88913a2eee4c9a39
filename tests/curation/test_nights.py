"""Look-alikes in real runs: asked for once, kept up by each night, told when that fails."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from pixelmill.errors import StoreError
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.commands import code

ROOT = Path(__file__).parents[2]


def night(store: str = "photos") -> int:
    return code("run", "pictures", "--store", store, "--precision", "float32")


def pairs(store: str = "photos") -> set[tuple[str, str]]:
    """Each duplicate with what is kept for it, by their paths."""
    found = Store(store)
    owners = enumerate(found.columns["duplicate_of"].tolist())
    return {(found.place(row)[1], found.place(owner)[1]) for row, owner in owners if owner != MISSING_INT}


@pytest.fixture
def photos(save_picture: SavePicture) -> Path:
    """Three pictures, one of them also half as large; a store of them."""
    for seed in range(3):
        save_picture(Path(f"pictures/{seed}.png"), seed)
    with Image.open("pictures/0.png") as picture:
        picture.resize((picture.width * 2, picture.height * 2)).save("pictures/0 large.png")
    assert night() == 0
    return Path("photos")


def test_the_examples_of_the_documentation_run(photos: Path) -> None:
    """One after the other, on a store of pictures."""
    examples = re.findall(r"^\$ pixelmill (.*)$", (ROOT / "docs" / "curate.md").read_text("utf-8"), re.M)
    assert len(examples) >= 3
    for example in examples:
        assert code(*shlex.split(example)) == 0, example
    assert Path("keep.csv").exists()
    assert photos.exists()


def test_a_night_groups_what_is_new(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From when the command was run once on: a larger copy takes its duplicates over; when it is gone, they are grouped
    anew."""
    assert photos.exists()
    assert code("duplicates", "photos", "--threshold", "0.8") == 0
    assert ("0.png", "0 large.png") in pairs()
    with Image.open("pictures/0.png") as picture:
        picture.resize((picture.width * 3, picture.height * 3)).save("pictures/0 huge.png")
    assert night() == 0
    assert {("0.png", "0 huge.png"), ("0 large.png", "0 huge.png")} <= pairs()
    Path("pictures/0 huge.png").unlink()
    assert night() == 0
    assert ("0.png", "0 large.png") in pairs()
    assert not any("0 huge.png" in pair for pair in pairs())
    capfd.readouterr()


def test_a_night_goes_on_when_the_column_cannot_be_made(
    photos: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says so, and the column is as it was."""
    assert photos.exists()
    assert code("duplicates", "photos", "--threshold", "0.8") == 0
    before = pairs()

    def broken(*_args: object) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr("pixelmill.curation.duplicates._found", broken)
    with Image.open("pictures/1.png") as picture:
        picture.resize((picture.width * 2, picture.height * 2)).save("pictures/1 large.png")
    assert night() == 0
    capfd.readouterr()
    assert code("report", "photos", "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert "The column duplicate_of stays as it was: The disk is full." in report["warnings"]
    assert pairs() == before

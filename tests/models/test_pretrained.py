"""Every published weight: the table is the installed libraries', and it is found by words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixelmill.catalog import everything, search
from pixelmill.cli.main import main
from pixelmill.tables.pretrained import TABLE, _alike, names, rows

ROWS: list[dict[str, Any]] = json.loads(TABLE.read_text("utf-8"))
UNUSABLE = ("gives many", "wants border", "no room")


def test_the_table_names_what_the_libraries_list() -> None:
    """After an upgrade of a library the table is stale, and this says so: run the module to write it anew."""
    assert [row["name"] for row in ROWS] == names()


def test_what_cannot_be_used_has_a_reason() -> None:
    """No name is left out: each has its dim and size, or the words on why it is of no use here, and these are few."""
    without = {row["name"]: row["why_not"] for row in ROWS if "why_not" in row}
    assert all(any(words in why for words in UNUSABLE) for why in without.values()), without
    assert len(without) < 0.02 * len(ROWS)
    assert all(row["dim"] > 0 and row["image_size"] > 0 for row in ROWS if "why_not" not in row)


def test_families_that_people_ask_for_are_there() -> None:
    """SigLIP, EVA, MobileCLIP, DFN, MetaCLIP, DINOv2 and 3, ConvNeXt: each is found, with a vector's length."""
    for words in ("siglip", "eva", "mobileclip", "dfn", "metaclip", "dinov2", "dinov3", "convnext"):
        assert [one for one in search([words]) if one.dim], words


def test_all_words_count_and_the_catalog_comes_first() -> None:
    """Words are joined by and, whatever their case; sizes that are reckoned are marked."""
    found = search(["ViT", "b32", "laion"])
    assert found[0].name == "open_clip_vit_b32_laion400m"
    assert all(
        {"vit", "b32", "laion"} <= {w for w in ("vit", "b32", "laion") if w in one.name.lower()} for one in found
    )
    (siglip,) = search(["open_clip:ViT-B-16-SigLIP/webli"])
    assert (siglip.dim, siglip.image_size, siglip.about) == (768, 224, True)
    assert siglip.bytes == 4 * siglip.parameters
    assert len(everything()) == len({one.name for one in everything()})


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`models --search` lists name, dim, input size, parameters, download and licence, and as JSON the same."""

    def told(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["models", *arguments])
        assert stop.value.code == 0
        return capsys.readouterr().out

    text = told("--search", "resnet18 a1_in1k")
    assert "timm:resnet18.a1_in1k" in text
    assert "512" in text
    assert "~46" in text
    found = json.loads(told("--search", "resnet18 a1_in1k", "--json"))["models"]
    assert [one["name"] for one in found] == ["timm:resnet18.a1_in1k"]
    assert "0 models" in told("--search", "no such model")


@pytest.mark.slow
def test_a_spread_of_names_is_what_the_table_says() -> None:
    """One in sixteen of all builds, spread over the libraries, on `meta` by the code that loads it."""
    chosen = {_alike(name) for name in names()[::16]}
    assert _rows_of(chosen) == [row for row in ROWS if _alike(row["name"]) in chosen]


@pytest.mark.system
@pytest.mark.timeout(1800)
def test_every_name_is_what_the_table_says() -> None:
    """All two thousand, which takes ten minutes."""
    assert rows() == ROWS


def _rows_of(chosen: set[object]) -> list[dict[str, Any]]:
    return rows(only=lambda name: _alike(name) in chosen)

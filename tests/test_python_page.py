"""docs/python.md and the notebook in examples/ are true: they are run, over the pictures that are committed."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

import pixelmill

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"
BLOCKS = [
    textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text("utf-8"), re.M | re.S)
]
NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python")
    shutil.copytree(ROOT / "examples" / "images", folder / "photos")
    return folder


def test_three_lines_go_from_a_folder_to_neighbours(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block, and nothing else: a picture finds itself, then the others of its kind."""
    monkeypatch.chdir(place)
    lines = BLOCKS[0].split("\n\n")
    assert len((lines[0] + "\n" + lines[1]).strip().splitlines()) == 3
    exec(BLOCKS[0], {})
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "<SearchResults: 5 by efficientnet_lite0>"
    assert told[1].startswith("1.0000 ")
    assert told[1].endswith("photos/city/towers.jpg")
    assert all("/photos/city/" in line for line in told[2:4])


def test_every_block_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as somebody would type them; what they claim is asserted in them, the rest here."""
    import torch
    from torchvision.models import resnet18

    monkeypatch.chdir(place)
    torch.save(resnet18().state_dict(), "mine.pth")
    names: dict[str, Any] = {"os": os, "checkpoint": "mine.pth"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"{PAGE.name}: block {number}", "exec"), names)
    assert str(names["report"]).startswith("another-store: 8 new images. 8 vectors made in ")
    assert names["neighbours"].shape == (5, 1280)
    assert 0 < len(names["sharp"]) < len(names["store"])
    assert len(names["X"]) == len(names["frame"]) > 0
    assert 0 < len(names["landscape"]) <= 4
    assert len(names["recent"]) == len(names["store"])
    assert names["html"].count("<img ") == 12
    pixelmill.release_models()


def test_the_page_tells_every_argument_and_column() -> None:
    """Of `run`, of `Store.search`, and what a condition may name."""
    import inspect

    from pixelmill.search.where import COLUMNS

    page = PAGE.read_text("utf-8")
    for function in (pixelmill.run, pixelmill.Store.search):
        for name in list(inspect.signature(function).parameters)[1:]:
            assert re.search(rf"`{name}[`=]|{name}=", page), name
    assert all(f"`{column}`" in page for column in COLUMNS)


def test_the_notebook_is_committed_without_outputs() -> None:
    """What it gives is for whoever runs it: a commit holds no pictures of one machine."""
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 5
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """In a real kernel, from top to bottom: reports, stores and results show themselves, and are text for a terminal."""
    import nbformat
    from nbclient import NotebookClient

    shutil.copytree(ROOT / "examples" / "images", tmp_path / "images")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    pages = [data["text/html"] for data in shown if "text/html" in data]
    assert [page.count("<img ") for page in pages] == [2, 12, 4, 4, 0]  # a report, a store, searches, a frame
    count = sum(path.is_file() for path in (tmp_path / "images").rglob("*"))
    assert f"{count} new images" in pages[0]
    assert shown[0]["text/plain"].startswith(f"<RunReport first-steps-store: {count} new images.")
    assert "city/towers.jpg" in shown[-1]["text/plain"]
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]

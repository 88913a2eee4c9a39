"""CONTRIBUTING.md says which files a picture passes on its way into a store, and those it does pass, in that order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.support.traced_run import passed

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
BESIDE = {
    "sources/source.py", "sources/address.py", "sources/files.py", "images/jpeg.py", "embedding/timing.py",
    "embedding/progress.py", "images/locked.py",
}  # fmt: skip
"""What is called on the way and holds no picture: contracts, counters, locks, what a source is."""


@pytest.fixture(scope="module")
def listed() -> list[str]:
    section = PAGE.read_text().partition("### Where a picture goes")[2].partition("\n## ")[0]
    return [f"pixelmill/{file}" for file in re.findall(r"^\d+\. `([^`]+)`", section, re.M)]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    return passed(tmp_path_factory.mktemp("traced"))


def missed(listed: Iterable[str], traced: Sequence[str]) -> str | None:
    """The first of the listed files that the run does not come to after those before it."""
    at = 0
    for file in listed:
        if file not in traced[at:]:
            return file
        at = traced.index(file, at)
    return None


def test_a_picture_passes_the_files_of_the_list_in_their_order(listed: list[str], traced: Sequence[str]) -> None:
    """From the scan to the commit, as a real run is traced, in all its threads and processes."""
    assert len(listed) > 20
    assert missed(listed, traced) is None


def test_the_list_leaves_out_no_file_of_the_rooms_that_handle_pictures(
    listed: list[str], traced: Sequence[str]
) -> None:
    """All that the run calls in them is listed, but for what holds no picture."""
    rooms = re.compile("pixelmill/(sources|images|embedding)/")
    assert {file for file in traced if rooms.match(file)} - set(listed) == {f"pixelmill/{file}" for file in BESIDE}


def test_a_list_that_is_not_true_is_noticed(listed: list[str], traced: Sequence[str]) -> None:
    """A file that nobody passes, or two that are passed the other way round."""
    assert missed([*listed, "pixelmill/images/bmp.py"], traced) == "pixelmill/images/bmp.py"
    early, decode = "pixelmill/run/left.py", "pixelmill/images/sandbox_process.py"
    assert missed([early, decode], traced) is None
    assert missed([decode, early], traced) == early

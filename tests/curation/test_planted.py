"""Copies of real pictures, changed in ways in which copies come about: which of them are found, by real weights."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelmill.curation.duplicates import find_duplicates
from pixelmill.curation.near import units
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from tests.support.commands import code
from tests.support.planted import CHANGES, ORIGINAL, plant

ROOT = Path(__file__).parents[2]
STAMPS = Path(os.environ.get("STAMPS", "/usr/share/tuxpaint/stamps"))
THRESHOLDS = (0.97, 0.95, 0.90)


def milled(pictures: Sequence[Path]) -> Store:
    plant(pictures, Path("planted"))
    assert code("run", "planted", "--store", "store", "--models", "efficientnet_lite0", "--precision", "float32") == 0
    return Store("store")


def shares(store: Store) -> dict[str, list[float]]:
    """For each change the share of copies that are as like their original as each of THRESHOLDS."""
    view = store["efficientnet_lite0"]
    rows = {store.place(row)[1].rpartition(".")[0]: row for row in view.rows.tolist()}
    originals = [name for name in rows if name.startswith(ORIGINAL)]
    one = units(view, np.array([rows[name] for name in originals]))
    result = dict[str, list[float]]()
    for change in CHANGES:
        # a copy to the last byte is its original's row
        copies = [rows.get(name.replace(ORIGINAL, change), rows[name]) for name in originals]
        cosines = np.einsum("ij,ij->i", one, units(view, np.array(copies)))
        result[change] = [float((cosines >= threshold).mean()) for threshold in THRESHOLDS]
    return result


def test_copies_of_the_sample_pictures_are_found() -> None:
    """At 0.90 nearly all that were saved anew, cropped or mirrored; what is kept for a copy has no fewer pixels, and is of
    another picture for at most one in twenty."""
    store = milled(sorted((ROOT / "examples" / "images").rglob("*.[jp][pn]g")))
    found = shares(store)
    assert min(found["saved anew"][2], found["cropped"][2], found["mirrored"][2]) >= 0.9
    assert found["turned"][2] < 0.5, "else docs/curate.md is wrong"
    with StoreWriter(Path("store")) as writer:
        groups = find_duplicates(writer, threshold=0.9)
    gone = groups.duplicates
    pixels = store.widths * store.heights
    assert (pixels[groups.owners[gone]] >= pixels[gone]).all()
    numbers = [
        [store.place(int(row))[1].split("/")[1].split(".")[0] for row in some] for some in (gone, groups.owners[gone])
    ]
    assert np.mean([one == other for one, other in zip(*numbers, strict=True)]) >= 0.95
    assert len(gone) > 100


@pytest.mark.slow
@pytest.mark.skipif(not STAMPS.is_dir(), reason=f"tuxpaint-stamps-default is not installed ({STAMPS}).")
def test_the_table_of_the_documentation_is_true() -> None:
    """Of the 60 largest stamps, things cut out of photographs: the share of each kind of copy that is found."""
    stamps = [path for path in STAMPS.rglob("*.png") if "symbols" not in path.parts]
    largest = sorted(stamps, key=lambda path: (-min(Image.open(path).size), path))[:60]
    found = shares(milled(largest))
    table = (ROOT / "docs" / "curate.md").read_text("utf-8")
    for change, measured in found.items():
        (line,) = re.findall(rf"^\| {change}\b.*$", table, re.M)
        told = [float(share) / 100 for share in re.findall(r"(\d+)%", line)[-3:]]
        assert measured == pytest.approx(told, abs=0.05), (change, measured)

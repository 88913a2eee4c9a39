"""What docs/deliveries.md says of Parquet is true: its programs are run on what was delivered, to a folder and to S3."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pytest

from pixelmill.deliver import base
from pixelmill.deliver.deliver import deliver
from tests.support.deliveries import expected
from tests.support.parquet_engine import Bucket, Folder, ParquetEngine
from tests.support.photos import Photos
from tests.support.prefect_server import ROOT
from tests.support.targets.asking import delivery_to

SECTION = (ROOT / "docs/deliveries.md").read_text().partition("\n## Parquet\n")[2].partition("\n## ")[0]
BY_DUCKDB, BY_POLARS, INDEX = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
VECTOR = [0.3, -1.0, 0.5]
_numbers = itertools.count()


@pytest.fixture(params=["folder", "bucket"])
def engine(request: pytest.FixtureRequest, memory: Path) -> ParquetEngine:
    if request.param == "folder":
        return Folder(str(memory / "vectors"))
    bucket = Bucket(request.getfixturevalue("s3_server"), f"documented{next(_numbers)}")
    (said,) = re.findall(r"`(duckdb\.register_filesystem\(.*?)`", SECTION)
    duckdb.unregister_filesystem("s3") if "s3" in duckdb.list_filesystems() else None
    exec(said, {"duckdb": duckdb, "fsspec": fsspec})
    return bucket


@pytest.fixture
def photos(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Photos:
    """80 photos, dogs and others, of which some have no date."""
    monkeypatch.setattr(base, "BLOCK", 16)
    photos = Photos(memory / "store", number=80)
    rows = range(80)
    photos.columns({
        "label": ["dog" if row % 3 else "cat" for row in rows],
        "taken.at": [None if row % 7 == 0 else 1_600_000_000_000 + row * 3_000_000_000 for row in rows],
    })  # fmt: skip
    return photos


def test_the_programs_find_what_is_nearest(
    engine: ParquetEngine, photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a vector: of those that fulfil a condition by DuckDB, of all dogs by Polars, of all by an index."""
    delivery = delivery_to(engine, name="search")
    assert deliver(photos.folder, delivery).is_equal
    rows = expected(photos.folder, delivery)
    names: dict[str, Any] = {"vector": VECTOR}
    exec(BY_DUCKDB.replace("/data/vectors", engine.place), names)
    dogs = {row: told for row, told in rows.items() if told["label"] == "dog"}
    dated = {row: told for row, told in dogs.items() if told["taken_at"] and told["taken_at"].year >= 2024}
    assert 10 < len(dated) < len(dogs) < len(rows)
    assert [row for row, *_ in names["nearest"]] == nearest(dated)
    assert names["nearest"][0][1] == rows[nearest(dated)[0]]["path"]
    exec(BY_POLARS.replace("print(", "found = ("), names)
    assert names["found"]["row"].to_list() == nearest(dogs)
    exec(BY_POLARS, names)
    assert "path" in capsys.readouterr().out
    exec(INDEX, names)
    query = np.array([VECTOR], np.float32) / np.linalg.norm(VECTOR)
    _, found = names["index"].search(query, 3)
    assert found[0].tolist() == nearest(rows)[:3]


def nearest(rows: dict[int, dict[str, Any]]) -> list[int]:
    """The ten whose vectors have the greatest cosine with VECTOR."""
    unit = np.array(VECTOR) / np.linalg.norm(VECTOR)
    cosine = {row: np.array(told["vector"]) @ unit / np.linalg.norm(told["vector"]) for row, told in rows.items()}
    return sorted(cosine, key=lambda row: -cosine[row])[:10]


def test_files_lie_as_the_page_shows(engine: ParquetEngine, photos: Photos) -> None:
    """`current.json` names a generation and its files, beside which is what is known of them."""
    assert deliver(photos.folder, delivery_to(engine, name="search")).is_equal
    current = engine.current("search")
    assert current
    key, shown = current["generation"], "5f3a91c2"
    told = re.findall(r"^/data/vectors/(\S+)", SECTION, re.M)
    assert {name.replace(shown, key) for name in told} < set(engine.names())
    assert current["files"] == f"{engine.place}/search/{key}/rows-*.parquet"
    (pattern,) = re.findall(r'"files": "/data/vectors/(.*?)"', SECTION)
    assert current["files"] == f"{engine.place}/{pattern.replace(shown, key)}"

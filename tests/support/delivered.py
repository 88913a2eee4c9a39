"""Stores whose vectors are delivered, and what came of that, read by plain Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pixelmill.store.commit import StoreWriter
from tests.support.columns import add_columns, store_with
from tests.support.prefect_server import ROOT
from tests.support.stores import provenance, record_files, shard_rows

ONE = """
[[deliveries]]
name = "{name}"
to = "parquet:{place}"
models = {models}
"""


def small_store(rows: int = 50) -> Path:
    """A store of the model `a` and a column, in the folder `store`."""
    return store_with(Path("store"), {"label": [f"label {row}" for row in range(rows)]})


def add_rows(store: Path, first: int, stop: int) -> None:
    """Pictures more, of these numbers."""
    with StoreWriter(store) as writer:
        record_files(writer, range(first, stop))
        writer.commit(shard_rows(range(first, stop), [writer.matrix(provenance("a"), "float32")]))
    add_columns(store, {"label": [f"label {row}" for row in range(stop)]})


BLOCK, ROWS = 16, 33


def store_of_blocks(folder: Path) -> Path:
    """A store of ROWS rows, which are three blocks where these are of BLOCK rows."""
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows(range(ROWS), [writer.matrix(provenance("a"), "float32")]))
    return folder


LARGE = 300


def large_store(folder: Path, letters: int, *, rows: int = 50) -> Path:
    """A store of LARGE rows whose vectors have 4,096 dimensions, and captions, of which some `rows` beside each other
    are long."""
    with StoreWriter(folder) as writer:
        record_files(writer, range(LARGE))
        writer.commit(shard_rows(range(LARGE), [writer.matrix(provenance("a", dim=4_096), "float32")]))
    add_columns(folder, {"caption": ["y" * letters if 50 <= row < 50 + rows else "x" for row in range(LARGE)]})
    return folder


def settings(*names: str, place: str = "out", models: tuple[str, ...] = ("a",), more: str = "") -> None:
    """A pixelmill.toml with deliveries of these names."""
    told = [ONE.format(name=name, place=place, models=list(models)) + more for name in names]
    Path("pixelmill.toml").write_text("\n".join(['[run]\nstore = "store"\n', *told]))


def rows_in(place: str | Path, name: str) -> dict[int, dict[str, Any]]:
    """What readers of a delivery to Parquet see, by row."""
    folder = Path(place) / name
    generation = json.loads((folder / "current.json").read_bytes())["generation"]
    files = sorted((folder / generation).glob("*.parquet"))
    return {line["row"]: line for file in files for line in pq.read_table(file).to_pylist()}


def query_of(kind: str) -> str:
    """The program with which docs/deliveries.md asks a target of that heading."""
    section = (ROOT / "docs" / "deliveries.md").read_text().partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    return section.partition("\n```python\n")[2].partition("\n```\n")[0]

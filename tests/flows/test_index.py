"""The flow that keeps indexes level with a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.index import index
from pixelmill.search.ann import RECALL, open_index
from pixelmill.search.norms import Norms
from pixelmill.store.reader import Store
from tests.support.clusters import ROWS, add

pytest.importorskip("faiss", reason="faiss-cpu is not installed")


def test_the_flow_indexes_every_model(tmp_path: Path, prefect_api: None) -> None:
    """`index` by Prefect leaves an index for each model that the store serves."""
    store = tmp_path / "store"
    add(store, 0, ROWS)
    assert index(store=str(store))["a"] >= RECALL
    assert open_index(Store(store)["a"], Norms()) is not None

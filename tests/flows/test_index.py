"""The flow that keeps indexes level with a store."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from flows.index import index
from pixelmill.search.ann import RECALL, open_index
from pixelmill.search.norms import Norms
from pixelmill.store.reader import Store
from tasks._artifacts import key_of
from tests.support.artifacts import artifacts_of
from tests.support.clusters import ROWS, add

pytest.importorskip("faiss", reason="faiss-cpu is not installed")


def test_the_flow_indexes_every_model(tmp_path: Path, prefect_api: None) -> None:
    """`index` by Prefect leaves an index for each model that the store serves."""
    store = tmp_path / "store"
    add(store, 0, ROWS)
    state = index(store=str(store), return_state=True)
    assert state.result()["a"] >= RECALL
    assert state.message.startswith("a: 6,000 vectors, made anew, recall 0.9")
    assert "a: 6,000 vectors" in artifacts_of(state)[key_of("index", store)]
    assert open_index(Store(store)["a"], Norms()) is not None


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (6, "Expected at least 40 vectors of a for an index. Found 6."),
        (60, "Expected faiss for an index. It is not installed: `pip install 'pixelmill[faiss]'`."),
    ],
)
def test_where_no_index_can_be_had_the_run_ends_well(
    rows: int, why: str, tmp_path: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called after its store, and says that searches compare all vectors: few, or without faiss, as after
    `make ui` alone, whose schedule runs it each morning."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    store = tmp_path / "store"
    add(store, 0, rows)
    state = index(store=str(store), return_state=True)
    assert state.result() == {}
    assert state.message == f"a: no index, and searches compare all vectors. {why}"
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(state.state_details.flow_run_id)))
    assert (run.name, run.tags) == ("index store", ["store"])

"""docs/loaders.md is true: its blocks run one after the other, and give the vectors of the store."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pixelmill
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import MatrixView
from tests.support.columns import TIME, add_columns, clock
from tests.support.stores import provenance, shard_rows

PAGE = Path(__file__).parent.parent / "docs" / "loaders.md"
SECTIONS = dict(re.findall(r"^## (.+?)\n.*?```python\n(.*?)```", PAGE.read_text(), re.M | re.S))
OPTIONAL = {"pandas": "pandas", "Polars": "polars", "FAISS": "faiss", "LanceDB": "lancedb"}
SHARED = ["Python", "NumPy", "pandas"]
"""What later blocks build on; without pandas its export still runs."""
LABELS: list[object] = ["dog", "dog", None, "cat", None, "dog", "cat", "dog", "cat"]
"""Of rows, of which the third was refused; a dog of 2024, and one of 2023."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "store") as writer:
        writer.commit(shard_rows(range(9), [writer.matrix(provenance("b"), "float32")], bad=[2]))
    taken = [clock("2024-06-01"), clock("2023-06-01"), *[None] * 7]
    add_columns(tmp_path / "store", {"label": LABELS, "taken_at": taken}, {"taken_at": TIME})
    return tmp_path / "store"


def run(store: Path, *titles: str) -> dict[str, Any]:
    """The names that the blocks leave behind."""
    names: dict[str, Any] = {"store": str(store), "model": "b"}
    for title in titles:
        code = SECTIONS[title]
        if title == "pandas" and (find_spec("pandas") is None or titles[-1] != title):
            code = next(line for line in code.splitlines() if line.startswith("export"))
        exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)
    return names


def wanted(store: Path) -> np.ndarray:
    view = pixelmill.Store(store)["b"]
    return view.read()[[0, 1, 3, 4, 5, 6, 7, 8]]


def units(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_every_section_is_run_by_a_test() -> None:
    """A section without a test below would be a promise that nobody keeps."""
    assert set(SECTIONS) == {
        "Python",
        "NumPy",
        "Plain h5py",
        "PyTorch",
        "pandas",
        "Polars",
        "FAISS",
        "LanceDB",
        "FiftyOne",
    }


def test_python_numpy_h5py_and_torch(store: Path) -> None:
    """Each gives the vectors of the rows that have one."""
    names = run(store, "Python", "NumPy", "Plain h5py", "PyTorch")
    np.testing.assert_array_equal(names["picked"], wanted(store))
    np.testing.assert_allclose(names["vectors"], units(wanted(store)), rtol=1e-6)
    np.testing.assert_array_equal(names["h5_vectors"][names["rows"]], wanted(store))
    torch_rows = np.concatenate([batch[1].numpy() for batch in names["batches"]])
    np.testing.assert_array_equal(np.concatenate([b[0].numpy() for b in names["batches"]]), wanted(store))
    assert torch_rows.tolist() == names["rows"].tolist()
    assert names["dogs"].tolist() == [0]
    assert names["h5_labels"].tolist() == names["labels"].tolist() == [label or "" for label in LABELS]
    assert names["h5_taken"][0] == np.datetime64("2024-06-01")
    assert np.isnat(names["h5_taken"][2:]).all()
    assert names["h5_unit"] == TIME
    targets = np.concatenate([targets.numpy() for _, targets in names["labelled_batches"]])
    assert names["labelled"].classes[targets].tolist() == [label for label in LABELS if label]
    labelled = np.concatenate([vectors.numpy() for vectors, _ in names["labelled_batches"]])
    np.testing.assert_array_equal(labelled, pixelmill.Store(store)["b"].read()[[label is not None for label in LABELS]])


@pytest.mark.parametrize("title", list(OPTIONAL))
def test_other_packages(store: Path, title: str) -> None:
    """pandas, Polars, FAISS and LanceDB read what is exported."""
    pytest.importorskip(
        OPTIONAL[title], reason=f"{OPTIONAL[title]} is not installed: docs/loaders.md, {title}, is not run"
    )
    names = run(store, *SHARED, title) if title != "pandas" else run(store, *SHARED)
    if title == "pandas":
        np.testing.assert_array_equal(names["frame_vectors"], wanted(store))
        assert names["frame_labels"].isna().tolist() == [label is None for label in [*LABELS[:2], *LABELS[3:]]]
        assert str(names["frame"]["taken_at"][0]) == "2024-06-01 00:00:00"
    elif title == "Polars":
        np.testing.assert_array_equal(names["table_vectors"], wanted(store))
        assert names["table_dogs"]["row"].to_list() == [0]
    elif title == "FAISS":
        assert names["neighbours"][0, 0] == 0
        assert names["cosines"][0, 0] == pytest.approx(1, abs=1e-5)
    else:
        assert names["nearest"]["row"][0].as_py() == 0
        assert set(names["near_dogs"]["label"].to_pylist()) == {"dog"}


def test_fiftyone_format(store: Path) -> None:
    """Each picture with a vector is a sample with its file, its row and its vector."""
    run(store, "Python", "NumPy", "FiftyOne")
    samples = json.loads(Path("samples.json").read_text())["samples"]
    np.testing.assert_allclose([sample["embedding"] for sample in samples], wanted(store))
    assert [sample["label"] for sample in samples] == [*LABELS[:2], *LABELS[3:]]
    assert all(Path(sample["filepath"]).is_absolute() for sample in samples)


def test_a_matrix_is_an_array_like(store: Path) -> None:
    """Rows by number, from the end, slices with a step, lists and masks are NumPy's; outside is an IndexError."""
    view: MatrixView = pixelmill.Store(store)["b"]
    whole = np.asarray(view)
    for key in (0, -1, slice(2, 5), slice(None, None, 3), slice(7, 2, -2), slice(5, 2), [4, 0, 4], whole[:, 0] > 0):
        np.testing.assert_array_equal(view[key], whole[key])
    assert view.ndim == whole.ndim
    assert np.asarray(view, dtype=np.float64).dtype == np.float64
    assert view.paths[0] == "0/bild ü 0.png"
    for row in (9, -10):
        with pytest.raises(IndexError):
            view[row]

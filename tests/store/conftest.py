"""A store with a writer, and the matrices of two models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from tests.support.stores import provenance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def writer(folder: Path) -> Iterator[StoreWriter]:
    with StoreWriter(folder) as opened:
        yield opened


@pytest.fixture
def matrices(writer: StoreWriter) -> list[Matrix]:
    return [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]

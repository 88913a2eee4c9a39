"""Heads are filled while a process dies, and while others write: what readers see is one head's, whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pixelmill.heads import compute
from pixelmill.heads.compute import compute_heads
from pixelmill.heads.head import FileHead
from pixelmill.heads.told import HeadReport
from pixelmill.search.encoder import QueryEncoder
from pixelmill.store import column_writer
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import Store
from pixelmill.store.rows import Vectors
from pixelmill.store.verify import verify
from tests.support.crash import crashing
from tests.support.labelled import labelled_store
from tests.support.stores import provenance, record_files, shard_rows

ROWS, DIM = 60, 4
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Vectors, and the columns of a first head over them; blocks are of 25 rows."""
    monkeypatch.setattr(compute, "ROWS", 25)
    folder = labelled_store(tmp_path / "store", {"a": VECTORS}, {"other": ["x"] * ROWS})
    fill(folder, 1)
    return folder


def no_encoder(made: Provenance) -> QueryEncoder:
    raise AssertionError("no text tower is needed")


def fill(store: Path, number: int) -> HeadReport:
    """Fill the head of a number."""
    file = store.parent / f"head-{number}.safetensors"
    labels = json.dumps([f"{label} {number}" for label in "abc"])
    save_file({"weight": WEIGHT * number}, file, metadata={"labels": labels})
    with StoreWriter(store) as writer:
        (told,) = compute_heads(writer, {"tone": FileHead(kind="file", model="a", file=file)}, no_encoder)
    return told


def of_head(number: int) -> list[str]:
    return [f"{'abc'[n]} {number}" for n in (VECTORS @ WEIGHT.T).argmax(axis=1)]


@pytest.mark.slow
def test_a_death_at_any_step(store: Path, tmp_path: Path) -> None:
    """Before the last step all columns are those of the old head, then those of the new one; nothing is damaged, and
    the next night fills what is missing alone."""
    shutil.copytree(store, tmp_path / "count")
    with crashing(None) as steps:
        fill(tmp_path / "count", 2)
    assert steps.count > 20
    seen, filled = set[str](), set[int]()
    for fatal in range(steps.count):
        folder = tmp_path / f"death-{fatal}"
        shutil.copytree(store, folder)
        with crashing(fatal) as dying:
            fill(folder, 2)
        assert dying.died
        labels = list(Store(folder).columns["tone"])
        assert labels in (of_head(1), of_head(2)), dying.died
        seen.add(labels[0][-1])
        told = fill(folder, 2)
        assert list(Store(folder).columns["tone"]) == of_head(2), dying.died
        assert not told.problem
        filled.add(told.rows)
        assert verify(folder) == [], dying.died
    assert seen == {"1", "2"}
    assert filled == {60, 35, 10, 0}, "what was published before the death is not made again"


def add_pictures(store: Path) -> None:
    with StoreWriter(store) as writer:
        record_files(writer, range(ROWS, ROWS + 5))
        shard = shard_rows(range(ROWS, ROWS + 5), [])
        made = provenance("a", dim=DIM)
        shard.vectors[made.fingerprint] = Vectors(np.arange(5), VECTORS[:5])
        writer.commit(shard)


def merge(store: Path) -> None:
    with StoreWriter(store) as writer:
        compact(writer)


@pytest.mark.parametrize("act", [add_pictures, merge, partial(fill, number=2)], ids=["added", "merged", "filled"])
def test_others_write_meanwhile(store: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], Any]) -> None:
    """Pictures that come, parts that are merged, another process that fills the same head: nothing is lost or mixed
    up, and the next night has nothing to do but what came."""
    real, acted = column_writer.fill, list[bool]()

    def filling(*arguments: Any) -> None:
        real(*arguments)
        if not acted:
            acted.append(True)
            act(store)

    monkeypatch.setattr("pixelmill.heads.compute.column_writer.fill", filling)
    told = fill(store, 2)
    assert acted
    assert not told.problem
    came = len(Store(store)) - ROWS
    assert fill(store, 2).rows == came
    assert list(Store(store).columns["tone"]) == [*of_head(2), *of_head(2)[:came]]
    assert verify(store) == []


def test_a_head_that_is_dropped_meanwhile(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told, leaves no part behind, and is filled by the next night."""
    real, acted = column_writer.fill, list[bool]()

    def filling(writer: StoreWriter, *arguments: Any) -> None:
        if len(acted) == 1:
            with StoreWriter(store) as other:
                column_writer.drop(other, ["tone"])
        acted.append(True)
        real(writer, *arguments)

    monkeypatch.setattr("pixelmill.heads.compute.column_writer.fill", filling)
    assert "Expected the columns tone, tone.score as they were begun" in fill(store, 2).problem
    monkeypatch.undo()
    manifest = Store(store).manifest
    assert {file.name for file in (store / "parts").iterdir()} <= {
        *manifest.parts,
        *(one.file for one in manifest.retired),
    }
    assert fill(store, 2).rows == ROWS
    assert list(Store(store).columns["tone"]) == of_head(2)

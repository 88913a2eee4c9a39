"""Damage is found and named, never returned as vectors or values, and a repair and a run bring everything back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelmill.errors import StoreError
from pixelmill.joining.table import Table
from pixelmill.run.job import CacheSpec, Job
from pixelmill.run.steps import run
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.conftest import SavePicture
from tests.support.models import BlockMeans, spec_of


@pytest.fixture
def job(tmp_path: Path, save_picture: SavePicture) -> Job:
    """A run of two models over six pictures with facts and a table, done: three commits, and what was joined."""
    for seed in range(6):
        save_picture(tmp_path / f"photos/{seed}.png", seed, (16, 16))
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{seed}.png,label {seed}\n" for seed in range(6)))
    made = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", device="cpu", precision="float32", shard_size=2,
        specs=(spec_of("one", tmp_path), spec_of("second", tmp_path)), cache=CacheSpec(cache_dir=tmp_path / "cache"),
        max_pixels=10**6, max_aspect=100.0, max_bytes=10**6, tables=(Table(path=str(tmp_path / "labels.csv")),),
    )  # fmt: skip
    run(made)
    return made


def values(store: Path) -> dict[bytes, dict[str, object]]:
    """Every column's value by sha256."""
    opened = Store(store)
    columns = {name: opened.columns[name].tolist() for name in opened.columns}
    assert {"label", "sharpness", "format"} <= columns.keys()
    assert all(columns["label"]), "every picture has a line"
    rows = enumerate(opened.sha256())
    return {sha256.tobytes(): {name: column[row] for name, column in columns.items()} for row, sha256 in rows}


def vectors(store: Path) -> dict[bytes, np.ndarray]:
    """Both models' rows by sha256."""
    opened = Store(store)
    both = opened.concatenated(["one", "second"]).read()
    return {bytes(sha256): row for sha256, row in zip(opened.sha256(), both, strict=True)}


def flip(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    part.write_bytes(content)


def truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-1])


def swap(part: Path) -> None:
    other = next(file for file in part.parent.glob("*.h5") if file != part)
    mine, theirs = part.read_bytes(), other.read_bytes()
    part.write_bytes(theirs)
    other.write_bytes(mine)


@pytest.mark.parametrize("damage", [flip, truncate, swap, Path.unlink], ids=["flip", "truncate", "swap", "delete"])
def test_a_damaged_part_is_named_and_its_rows_come_back(job: Job, damage: Callable[[Path], None]) -> None:
    """verify names the file and its rows; after repair and one run every vector and fact is as before, on its
    sha256."""
    before, known = vectors(job.store), values(job.store)
    victim = Store(job.store).manifest.matrices[0].extents[1]
    damage(job.store / "parts" / victim.part)
    found = [d for d in verify(job.store) if d.file == f"parts/{victim.part}" and d.dataset == "vectors/one"]
    assert [d.rows for d in found] == [((victim.row, victim.end),)]
    assert any("columns/sharpness" in d.dataset and d.rows == found[0].rows for d in verify(job.store))
    done = repair(job.store)
    assert min(done.to_embed.values()) >= 2
    run(job)
    assert verify(job.store) == []
    after = vectors(job.store)
    assert after.keys() == before.keys()
    for sha256, row in before.items():
        np.testing.assert_allclose(after[sha256], row, rtol=1e-6)
    assert (Store(job.store).widths == 16).all()
    check_values(job.store, known)


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink], ids=["flip", "truncate", "delete"])
def test_joined_values_come_back(job: Job, damage: Callable[[Path], None]) -> None:
    """A part of a table's column is named with the column, nothing is read from one of another size, and a run after
    repair joins it again, and calls no model for it."""
    known = values(job.store)
    group, _ = Store(job.store).columns.about("label")
    damage(job.store / "parts" / group.extents[0].part)
    found = [(d.file, d.dataset, d.rows) for d in verify(job.store)]
    assert found == [(f"parts/{group.extents[0].part}", "columns/label", ((0, 6),))]
    if damage is not flip:
        with pytest.raises(StoreError, match=group.extents[0].part):
            Store(job.store).columns["label"]
    repair(job.store)
    seen = BlockMeans.seen
    report = run(job)
    assert BlockMeans.seen - seen == sum(check.compared for check in report.self_check.values())
    assert report.columns.rows == 6
    check_values(job.store, known)
    assert verify(job.store) == []


def check_values(store: Path, known: dict[bytes, dict[str, object]]) -> None:
    for sha256, columns in values(store).items():
        assert columns == pytest.approx(known[sha256], nan_ok=True)


@pytest.mark.parametrize("damage", [truncate, Path.unlink], ids=["truncate", "delete"])
def test_the_reader_raises_rather_than_fill(job: Job, damage: Callable[[Path], None]) -> None:
    """Where HDF5 would give its fill value in silence, our reader names the part and the rows."""
    victim = Store(job.store).manifest.matrices[0].extents[1]
    damage(job.store / "parts" / victim.part)
    with pytest.raises(StoreError, match=victim.part):
        Store(job.store)["one"].read()


@pytest.mark.parametrize("name", ["vectors.h5", "ledger.sqlite", "manifest.json"])
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "garbage"])
def test_master_ledger_and_copy_come_back(job: Job, name: str, *, lost: bool) -> None:
    """Each of the other files can be lost or overwritten: verify says so, repair rebuilds it, no vector or value is
    lost."""
    before, known = vectors(job.store), values(job.store)
    (job.store / name).unlink()
    if not lost:
        (job.store / name).write_bytes(b"garbage" * 100)
        for suffix in ("-wal", "-shm"):
            (job.store / f"{name}{suffix}").unlink(missing_ok=True)
    if not (lost and name == "vectors.h5"):
        assert any(name in str(d) for d in verify(job.store))
    repair(job.store)
    assert verify(job.store) == []
    seen = BlockMeans.seen
    report = run(job)
    checked = sum(check.compared for check in report.self_check.values())
    assert BlockMeans.seen - seen == checked, "nothing else had to be embedded again"
    check_values(job.store, known)
    after = vectors(job.store)
    assert after.keys() == before.keys()
    for sha256, row in before.items():
        np.testing.assert_array_equal(after[sha256], row)

"""Every kind of damage to every file of a store: named, never returned as vectors, and repaired as far as can be."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelmill.errors import StoreDamaged, StoreError
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.verify import repair, verify
from tests.support.stores import check_plain, provenance, record_files, sha256, shard_rows

ALL = {sha256(n): {"a": True, "b": True} for n in range(12)}
DATASETS = {
    "images/sha256 and images/width and images/height",
    "images/path and images/source",
    "vectors/a",
    "vectors/b",
}


@pytest.fixture
def matrices(folder: Path) -> list[Matrix]:
    """A closed store of twelve rows in three parts of four."""
    with StoreWriter(folder) as writer:
        made = [writer.matrix(provenance("a"), "float32"), writer.matrix(provenance("b"), "float16")]
        record_files(writer, range(12))
        for start in (0, 4, 8):
            writer.commit(shard_rows(range(start, start + 4), made))
    assert verify(folder) == []
    return made


def part_at(folder: Path, row: int) -> Path:
    return folder / "parts" / next(e.part for e in Store(folder).manifest.identity if e.row <= row < e.end)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "grow", "folder"])
def test_verify_names_a_damaged_part(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """A flipped, cut, lost, lengthened or replaced part is named with each dataset and the rows it held."""
    path = part_at(folder, 5)
    actions: dict[str, Callable[[], object]] = {
        "flip": lambda: flip(path, path.stat().st_size - 1),
        "truncate": lambda: os.truncate(path, path.stat().st_size - 8),
        "delete": path.unlink,
        "grow": lambda: path.write_bytes(path.read_bytes() + b"x"),
        "folder": lambda: (path.unlink(), path.mkdir()),
    }
    actions[damage]()
    damages = verify(folder)
    assert {d.file for d in damages} == {f"parts/{path.name}"}
    assert {d.dataset: d.rows for d in damages} == dict.fromkeys(DATASETS, ((4, 8),))
    assert "rows 4 to 7" in str(damages[0])


def test_verify_names_swapped_parts(folder: Path, matrices: list[Matrix]) -> None:
    """Two parts of equal size under each other's name are both named."""
    first, second = part_at(folder, 0), part_at(folder, 4)
    assert first.stat().st_size == second.stat().st_size
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    assert {d.file for d in verify(folder)} == {f"parts/{first.name}", f"parts/{second.name}"}


@pytest.mark.parametrize("damage", ["truncate", "delete", "grow"])
def test_no_read_returns_from_a_damaged_part(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """Every read that touches the part raises, naming file and rows, a decoy under the working directory or not; rows of
    the other parts are still read."""
    path = part_at(folder, 5)
    if damage == "delete":
        path.unlink()
        (Path.cwd() / "parts").mkdir()
        shutil.copy(part_at(folder, 0), Path.cwd() / "parts" / path.name)
        with h5py.File(folder / "vectors.h5") as file:
            assert not np.isnan(file["vectors/a"][:]).any(), "plain HDF5 reads the decoy"
    else:
        os.truncate(path, path.stat().st_size + (7 if damage == "grow" else -7))
    reads: list[Callable[[Store], object]] = [
        lambda store: store["a"].read(),
        lambda store: store["b"].take([6]),
        lambda store: store["a"].embedded,
        lambda store: store.sha256(),
        lambda store: store.widths,
        lambda store: store.paths,
        lambda store: store.concatenated(["a", "b"]).read(),
    ]
    for read in reads:
        with pytest.raises(StoreDamaged, match=rf"{path.name}.*rows \d+ to 7"):
            read(Store(folder))
    assert not np.isnan(Store(folder)["a"].read(0, 4)).any()
    assert not np.isnan(Store(folder)["b"].take([0, 11])).any()


def test_every_altered_byte_of_the_master_is_found(folder: Path, matrices: list[Matrix]) -> None:
    """With any byte of the master changed, or the master cut anywhere, reader and verify say so; HDF5, which crashes the
    process at some of them, is never asked."""
    master = folder / "vectors.h5"
    content = master.read_bytes()
    for position in [*range(0, 600), *range(600, len(content), 97)]:
        altered = bytearray(content)
        altered[position] ^= 0xFF
        for wrong in (altered, content[:position]):
            master.write_bytes(wrong)
            with pytest.raises(StoreError):
                Store(folder)
        assert [(d.file, d.rows) for d in verify(folder)] == [("vectors.h5", ((0, 12),))]


def test_altered_links_are_found_and_published_anew(folder: Path, matrices: list[Matrix]) -> None:
    """A master whose datasets were made to map other rows is found out, and comes back from its manifest."""
    with h5py.File(folder / "vectors.h5", "r+") as file:
        dataset = file["vectors/a"]
        pieces, attributes = dataset.virtual_sources(), dict(dataset.attrs)
        layout = h5py.VirtualLayout(dataset.shape, dataset.dtype)
        for row, piece in zip((4, 0, 8), pieces, strict=True):
            layout[row : row + 4] = h5py.VirtualSource(piece.file_name, piece.dset_name, (4, 3))[:]
        del file["vectors/a"]
        file.create_virtual_dataset("vectors/a", layout, fillvalue=np.nan).attrs.update(attributes)
    assert [d.file for d in verify(folder)] == ["vectors.h5"]
    assert repair(folder).to_embed == {"a": 0, "b": 0}
    check_plain(folder, ALL)


@pytest.mark.parametrize("damage", ["delete", "garbage", "middle", "empty"])
def test_a_lost_ledger_is_named_and_rebuilt(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """Whatever happens to the ledger, verify names it, repair rebuilds it, and no vector is embedded again."""
    ledger = folder / "ledger.sqlite"
    if damage == "delete":
        ledger.unlink()
    elif damage == "garbage":
        ledger.write_bytes(b"no database " * 1000)
    elif damage == "empty":
        ledger.write_bytes(b"")
    else:
        content = bytearray(ledger.read_bytes())
        content[4096:] = bytes(reversed(content[4096:]))
        ledger.write_bytes(content)
    if damage != "empty":  # an empty file is a ledger that knows nothing yet, and is brought level
        assert [d.file for d in verify(folder)] == ["ledger.sqlite"]
    done = repair(folder)
    assert verify(folder) == []
    assert done.to_embed == {"a": 0, "b": 0}
    with StoreWriter(folder) as writer:
        assert writer.commit(shard_rows(range(12), matrices)).manifest == writer.snapshot().manifest
        assert writer.ledger.contents.row_count() == 12
    check_plain(folder, ALL)


def test_a_deleted_ledger_comes_back_without_repair(folder: Path, matrices: list[Matrix]) -> None:
    """The next writer builds a lost ledger from the master, and the same contents keep their rows."""
    (folder / "ledger.sqlite").unlink()
    with StoreWriter(folder) as writer:
        record_files(writer, range(14))
        writer.commit(shard_rows(range(14), matrices))
        assert writer.ledger.changes().new == 2
    check_plain(folder, {sha256(n): {"a": True, "b": True} for n in range(14)})


def test_a_ledger_of_another_store_is_not_believed(folder: Path, matrices: list[Matrix], tmp_path: Path) -> None:
    """A ledger that came from another store is emptied and built from this master."""
    with StoreWriter(tmp_path / "other") as other:
        matrix = other.matrix(provenance("a"), "float32")
        other.commit(shard_rows(range(20, 26), [matrix]))
    shutil.copy(tmp_path / "other" / "ledger.sqlite", folder / "ledger.sqlite")
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows([20, 0], matrices))
    check_plain(folder, {**ALL, sha256(20): {"a": True, "b": True}})
    assert verify(folder) == []


@pytest.mark.parametrize("damage", ["delete", "garbage", "truncate", "manifest"])
def test_a_lost_master_is_rebuilt(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """The master is made again from the copy of its manifest; every row is there and nothing is to embed."""
    master = folder / "vectors.h5"
    if damage == "delete":
        master.unlink()
    elif damage == "garbage":
        master.write_bytes(os.urandom(5000))
    elif damage == "truncate":
        os.truncate(master, master.stat().st_size // 2)
    else:
        flip(master, master.read_bytes().index(b'"revision"') + 12)
    with pytest.raises(StoreError):
        Store(folder)
    done = repair(folder)
    assert "rebuilt vectors.h5" in done.actions[0]
    assert done.to_embed == {"a": 0, "b": 0}
    check_plain(folder, ALL)
    assert verify(folder) == []


@pytest.mark.parametrize("damage", ["delete", "flip", "old"])
def test_the_copy_of_the_manifest_is_checked(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """A copy that could not rebuild this master is named before it is needed, and written anew."""
    copy = folder / "manifest.json"
    if damage == "delete":
        copy.unlink()
    elif damage == "flip":
        flip(copy, copy.read_bytes().index(b'"location"') + 20)
    else:
        before = copy.read_bytes()
        with StoreWriter(folder) as writer:
            writer.matrix(provenance("c"), "float32")
        copy.write_bytes(before)
    assert [d.file for d in verify(folder)] == ["manifest.json"]
    repair(folder)
    assert verify(folder) == []


def test_master_and_copy_lost_is_mended_by_the_revision(folder: Path, matrices: list[Matrix]) -> None:
    """The manifest lies under the name of its revision too; without that there is nothing to go by, and repair says what
    to restore."""
    rows = len(Store(folder))
    (folder / "vectors.h5").unlink()
    flip(folder / "manifest.json", 40)
    repair(folder)
    assert len(Store(folder)) == rows
    (folder / "vectors.h5").unlink()
    flip(folder / "manifest.json", 40)
    flip(max((folder / "revisions").iterdir(), key=lambda path: int(path.stem)), 40)
    with pytest.raises(StoreDamaged, match="backup"):
        repair(folder)


@pytest.mark.parametrize("damage", ["delete", "flip"])
def test_a_lost_part_is_embedded_again(damage: str, folder: Path, matrices: list[Matrix]) -> None:
    """Repair keeps the rows of a lost part by the ledger, says how many vectors are missing, and a commit restores all."""
    path = part_at(folder, 5)
    if damage == "delete":
        path.unlink()
    else:
        flip(path, 5000)
    done = repair(folder)
    assert done.to_embed == {"a": 4, "b": 4}
    assert verify(folder) == []
    check_plain(folder, {sha256(n): dict.fromkeys("ab", not 4 <= n < 8) for n in range(12)})
    assert Store(folder).widths[4:8].tolist() == [0] * 4
    with StoreWriter(folder) as writer:
        writer.commit(shard_rows(range(4, 8), matrices))
    check_plain(folder, ALL)
    assert Store(folder).widths.all()
    assert [bytes(s) for s in Store(folder).sha256()] == [sha256(n) for n in range(12)]


@pytest.mark.parametrize("ledger", ["delete", "garbage"])
def test_a_lost_part_and_a_lost_ledger_cost_only_their_rows(ledger: str, folder: Path, matrices: list[Matrix]) -> None:
    """Rows that nobody can identify any more stay as empty rows; their images get new ones, all others stay."""
    part_at(folder, 5).unlink()
    (folder / "ledger.sqlite").unlink()
    if ledger == "garbage":
        (folder / "ledger.sqlite").write_bytes(b"no database " * 1000)
    done = repair(folder)
    assert any("lost images/sha256" in action and "4 rows" in action for action in done.actions)
    assert verify(folder) == []
    with StoreWriter(folder) as writer:
        record_files(writer, range(12))
        writer.commit(shard_rows(range(12), matrices))
    unknown: dict[bytes, dict[str, bool]] = {bytes(24) + row.to_bytes(8, "big"): {} for row in range(4, 8)}
    check_plain(folder, {**ALL, **unknown})
    assert len(Store(folder)) == 16
    assert verify(folder) == []


def test_verify_during_commits_raises_no_alarm(folder: Path, matrices: list[Matrix]) -> None:
    """A sound store is called sound while another process commits to it."""
    worker = multiprocessing.get_context("fork").Process(target=commit_many, args=(folder, matrices))
    worker.start()
    checks = 0
    while worker.is_alive() or not checks:
        assert verify(folder) == []
        checks += 1
    worker.join()
    assert worker.exitcode == 0
    assert checks > 1


def commit_many(folder: Path, matrices: list[Matrix]) -> None:
    with StoreWriter(folder) as writer:
        for n in range(12, 42):
            writer.commit(shard_rows([n], matrices))

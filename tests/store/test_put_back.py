"""Single files that come back from a backup are noticed and overwrite nothing; a whole store that does simply works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pixelmill.errors import StoreDamaged
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.revisions import REVISIONS
from pixelmill.store.schema import LEDGER
from pixelmill.store.verify import repair, verify
from tests.support.stores import check_plain, provenance, record_files, sha256, shard_rows


def contents(count: int) -> dict[bytes, dict[str, bool]]:
    return {sha256(number): {"a": True} for number in range(count)}


def commit(writer: StoreWriter, numbers: range) -> None:
    for number in numbers:
        record_files(writer, range(number + 1))
        writer.commit(shard_rows([number], [writer.matrix(provenance("a"), "float32")]))


@pytest.fixture
def backup(folder: Path, tmp_path: Path) -> Path:
    """A store of 3 rows, as it was before `folder` got its 8."""
    with StoreWriter(folder) as writer:
        commit(writer, range(3))
    shutil.copytree(folder, tmp_path / "backup")
    with StoreWriter(folder) as writer:
        commit(writer, range(3, 8))
    return tmp_path / "backup"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file() and LEDGER not in path.name}


@pytest.mark.parametrize("revisions", [True, False], ids=["", "made by an older program"])
def test_an_old_master_is_told_and_nothing_is_written_over(revisions: bool, folder: Path, backup: Path) -> None:
    """verify and a writer say which file is older than which, the writer changes nothing, and repair brings all rows
    back."""
    shutil.copy(backup / "vectors.h5", folder)
    if not revisions:
        shutil.rmtree(folder / REVISIONS)
    before = files(folder)
    (told,) = verify(folder)
    assert told.file == "vectors.h5"
    assert "is revision 5 of" in told.problem
    assert "older than manifest.json, which is revision 10 of" in told.problem
    with pytest.raises(StoreDamaged, match=r"an old file was put back\. `pixelmill repair .*Nothing was written"):
        StoreWriter(folder)
    assert files(folder) == before
    assert repair(folder).actions[0].startswith("rebuilt vectors.h5 from the copy of its manifest (8 rows)")
    assert verify(folder) == []
    check_plain(folder, contents(8))


def test_an_old_copy_of_the_manifest_is_told_and_mended(folder: Path, backup: Path) -> None:
    """The master is what counts: verify names the copy, a writer says so, and its next commit loses nothing."""
    shutil.copy(backup / "manifest.json", folder)
    assert [damage.file for damage in verify(folder)] == ["manifest.json"]
    with StoreWriter(folder) as writer:
        assert any("manifest.json is older" in warning for warning in writer.warnings)
        commit(writer, range(8, 9))
    assert verify(folder) == []
    check_plain(folder, contents(9))


def test_an_old_ledger_is_brought_level(folder: Path, backup: Path) -> None:
    """What an old ledger does not know it takes from the store: no content is stored twice."""
    shutil.copy(backup / LEDGER, folder)
    with StoreWriter(folder) as writer:
        assert writer.ledger.contents.row_count() == 8
        writer.commit(shard_rows(range(9), [writer.matrix(provenance("a"), "float32")]))
    assert verify(folder) == []
    check_plain(folder, contents(9))


def test_a_ledger_of_another_past_is_not_believed(folder: Path, backup: Path, tmp_path: Path) -> None:
    """A ledger that went another way since the backup takes rows for other contents: it is made anew from the store, and
    no content is stored twice."""
    with StoreWriter(backup) as writer:
        writer.commit(shard_rows(range(20, 25), [writer.matrix(provenance("a"), "float32")]))
    shutil.copy(folder / LEDGER, backup)
    with StoreWriter(backup) as writer:
        writer.commit(shard_rows([4, 21], [writer.matrix(provenance("a"), "float32")]))
    assert verify(backup) == []
    check_plain(backup, {sha256(n): {"a": True} for n in (0, 1, 2, 20, 21, 22, 23, 24, 4)})


@pytest.mark.parametrize("over", [False, True], ids=["in place of it", "over it"])
def test_a_store_that_is_put_back_whole_simply_works(over: bool, folder: Path, backup: Path) -> None:
    """Copied in place of the store, the backup is the store, and goes on; copied over it, what has its name as a revision
    and all its parts is published again, and no row is lost."""
    if not over:
        shutil.rmtree(folder)
    shutil.copytree(backup, folder, dirs_exist_ok=True)
    assert ["put back over a newer store" in str(damage) for damage in verify(folder)] == [True] * over
    with StoreWriter(folder) as writer:
        assert ("put back over a newer store" in writer.ledger.runs.notice()) == over
        assert len(writer.snapshot()) == (8 if over else 3)
        commit(writer, range(9, 11))
    assert verify(folder) == []
    there = [*range(8 if over else 3), 9, 10]
    check_plain(folder, {sha256(number): {"a": True} for number in there})


def test_names_of_another_store_are_passed_over(
    folder: Path, writer: StoreWriter, matrices: list[Matrix], backup: Path, tmp_path: Path
) -> None:
    """Revisions that another store left in the folder are neither published nor in the way."""
    writer.commit(shard_rows([0], matrices[:1]))
    with StoreWriter(tmp_path / "other") as other:
        commit(other, range(20))
    shutil.rmtree(folder / REVISIONS)
    shutil.copytree(tmp_path / "other" / REVISIONS, folder / REVISIONS)
    writer.commit(shard_rows([30], matrices[:1]))
    assert Store(folder).sha256()[-1].tobytes() == sha256(30)
    assert len(Store(folder)) == 9

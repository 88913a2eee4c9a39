"""A store on media that cannot be written is read in full; whoever wants to write is told why that cannot be."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pixelmill.cli.info
import pixelmill.cli.store
import pixelmill.store.compact
import pixelmill.store.export  # noqa: F401 - with those above: a stranger may not be allowed to import them later
from pixelmill.cli.main import main
from pixelmill.errors import StoreError
from pixelmill.store.commit import StoreWriter
from pixelmill.store.durable import write_durably
from pixelmill.store.manifest import Matrix
from pixelmill.store.readonly import open_read_only
from pixelmill.store.verify import repair
from tests.conftest import SavePicture
from tests.support.golden import GOLDEN, check_with_h5py, check_with_reader, expected_of
from tests.support.media import as_stranger, mounted_read_only, without_permission
from tests.support.stores import file_of, provenance, record_files, shard_rows

VERSION = "v3"
STORE = GOLDEN / VERSION / "store"


def called(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def reads(store: Path, out: Path) -> dict[str, tuple[int, str, str]]:
    """What each command that only reads answers."""
    os.environ["NO_COLOR"] = "1"
    return {
        "info": called("info", str(store), "--json"),
        "quarantine": called("quarantine", str(store), "--json"),
        "verify": called("verify", str(store)),
        "export": called("export", str(store), str(out / "out.parquet"), "--models", "a,b"),
    }


def check_reads(store: Path, answers: dict[str, tuple[int, str, str]]) -> None:
    """Every one of them succeeded, and found what the golden store holds."""
    assert {name: (code, err) for name, (code, _, err) in answers.items()} == dict.fromkeys(answers, (0, ""))
    assert json.loads(answers["info"][1])["rows"] == 12
    wanted = expected_of(VERSION)["quarantine"]
    listed = json.loads(answers["quarantine"][1])["quarantined"]
    assert [{name: entry[name] for name in wanted[0]} for entry in listed] == wanted
    assert answers["verify"][1] == "Sound.\n"
    assert "6 x 8" in answers["export"][1]  # of eight rows with both, one is refused and one is gone


def writes(store: Path) -> list[str]:
    """What each way to write to a store says."""
    ways: list[Callable[[], Any]] = [lambda: StoreWriter(store), lambda: repair(store)]
    told = []
    for way in ways:
        with pytest.raises(StoreError) as refused:
            way()
        told.append(str(refused.value))
    for command in (["compact"], ["repair"], ["quarantine", "--retry"]):
        code, _, err = called(command[0], str(store), *command[1:])
        assert code == 1
        told.append(err)
    return told


def test_everything_can_be_read_on_read_only_media(tmp_path: Path) -> None:
    """On a file system mounted read-only, readers, info, quarantine, verify and export work."""
    with mounted_read_only(STORE, tmp_path / "media") as store:
        check_with_h5py(store / "vectors.h5", expected_of(VERSION))
        check_with_reader(store, expected_of(VERSION))
        check_reads(store, reads(store, tmp_path))


def test_writing_to_read_only_media_is_refused_in_words(
    tmp_path: Path, prefect_api: None, save_picture: SavePicture
) -> None:
    """Every command that writes, `run` too, says that this store cannot be written, and what to do."""
    picture = save_picture(tmp_path / "photos" / "a.png")
    with mounted_read_only(STORE, tmp_path / "media") as store:
        code, _, err = called("run", str(picture.parent), "--store", str(store), "--models", "efficientnet_lite0")
        assert code == 1
        for told in (*writes(store), err):
            assert "cannot be written (Read-only file system)" in told
            assert "copy the folder" in told
            assert "Traceback" not in told


def test_media_that_become_read_only_are_told(tmp_path: Path) -> None:
    """A write that fails so is a StoreError with the system's reason, though the file begun cannot be removed either."""
    with (
        mounted_read_only(STORE, tmp_path / "media") as store,
        pytest.raises(StoreError, match="Read-only file system"),
    ):
        write_durably(store / "new", b"content")


def test_a_user_without_the_right_to_write_can_read(tmp_path: Path) -> None:
    """Somebody who may only read the files gets everything, and words instead of a traceback for what he may not do."""
    with without_permission(STORE) as store:
        out = store.parent / "out"
        out.mkdir()
        out.chmod(0o777)
        check_reads(store, as_stranger(lambda: reads(store, out)))
        for told in as_stranger(lambda: writes(store)):
            assert "cannot be written (Permission denied)" in told


@pytest.fixture
def unfinished(tmp_path: Path) -> Iterator[Path]:
    """A store copied while a writer was at work: what it did last lies in the ledger's write-ahead log only."""
    folder, copy = tmp_path / "busy", tmp_path / "copy"
    with StoreWriter(folder) as writer:
        matrices: list[Matrix] = [writer.matrix(provenance("a"), "float32")]
        record_files(writer, [0])
        writer.commit(shard_rows([0], matrices, bad=[0]))
    with StoreWriter(folder) as writer:
        record_files(writer, [0, 1])
        writer.commit(shard_rows([1], matrices, bad=[1]))
        assert (folder / "ledger.sqlite-wal").stat().st_size
        shutil.copytree(folder, copy)
        (copy / "ledger.sqlite-shm").unlink()
        yield copy


def counted(store: Path, how: str) -> int:
    """How many entries SQLite finds in the quarantine, opened so."""
    with contextlib.closing(sqlite3.connect(f"file:{store / 'ledger.sqlite'}?{how}", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM quarantine").fetchone()[0])


def test_the_log_of_a_ledger_on_read_only_media_is_read(unfinished: Path, tmp_path: Path) -> None:
    """What was committed to a ledger's log is listed, where SQLite cannot open the log in place."""
    with mounted_read_only(unfinished, tmp_path / "media") as store:
        with pytest.raises(sqlite3.OperationalError):
            counted(store, "mode=ro")
        assert counted(store, "immutable=1") == 1, "SQLite's own way to read such media misses what the log holds"
        code, out, _ = called("quarantine", str(store), "--json")
        assert code == 0
        assert [e["path"] for e in json.loads(out)["quarantined"]] == [file_of(n).absolute for n in (0, 1)]
        assert called("verify", str(store))[:2] == (0, "Sound.\n")


def test_a_ledger_is_read_beside_its_writer(unfinished: Path) -> None:
    """Listing a store that can be written sees what a writer at work has committed, and leaves no file behind."""
    busy = unfinished.parent / "busy"
    before = sorted(file.name for file in busy.iterdir())
    with open_read_only(busy) as ledger:
        assert len(ledger.quarantine.entries()) == 2
        with pytest.raises(StoreError, match="readonly"):
            ledger.quarantine.release()
    assert sorted(file.name for file in busy.iterdir()) == before
    with open_read_only(unfinished) as ledger:
        assert len(ledger.quarantine.entries()) == 2
    assert not list(unfinished.glob("ledger.sqlite-*"))

"""`pixelmill forget`: which pictures it erases, where, and what it says of what it cannot reach."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixelmill.curation.clusters import find_clusters
from pixelmill.curation.duplicates import find_duplicates
from pixelmill.deliver import targets
from pixelmill.errors import TargetUnavailable
from pixelmill.forgetting import forget as forgetting
from pixelmill.forgetting.chosen import Which
from pixelmill.forgetting.forget import forget, resume
from pixelmill.search.index_files import Described, packed, publish_index
from pixelmill.store import forgotten
from pixelmill.store.backup import backup
from pixelmill.store.commit import StoreWriter
from pixelmill.store.labels import LabelFile
from pixelmill.store.reader import Store
from pixelmill.store.verify import verify
from pixelmill.travel.messages import Message, encode
from tests.support.commands import code
from tests.support.forgettable import KEPT, ROWS, filled, of
from tests.support.stores import file_of, path_of, sha256, vector
from tests.support.traces import traces

CONDITION = f"row IN ({', '.join(map(str, ROWS))})"
SETTINGS = """
[web]
cache_dir = "thumbnails"
[[deliveries]]
name = "files"
to = "parquet:out"
models = ["b"]
columns = ["camera"]
[[deliveries]]
name = "tables"
to = "lancedb:lance"
models = ["b"]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store with all that is kept of its pictures, also beside it."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        _make(Path("store"))
    return place


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """The store of a copy of that folder, which is the working directory."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Path("store")


def _make(folder: Path) -> None:
    filled(folder)
    Path("pixelmill.toml").write_text(SETTINGS)
    with StoreWriter(folder) as writer:
        find_clusters(writer, model="b", number=3)
        find_duplicates(writer, model="b")
    LabelFile(folder, "mood").give("calm", {sha256(n): path_of(n) for n in range(10)})
    _index(Store(folder))
    for number in range(10):
        for size in (160, 320):
            name = sha256(number).hex()
            file = Path("thumbnails") / name[:2] / f"{name[2:]}-{size}-1.webp"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"webp")
    for number in (2, 5):
        _handed_over(folder, number)
    assert code("deliver", "--store", "store") == 0


def _index(store: Store) -> None:
    made, content = store["b"].provenance, b"".join(vector(sha256(n), "b", 5).tobytes() for n in range(10))
    (store.folder / "index").mkdir()
    publish_index(store, memoryview(content), Described(
        store_id=store.manifest.store_id, model="b", fingerprint=made.fingerprint, revision=1,
        file=f"{made.fingerprint[:16]}-1.faiss", bytes=len(content), rows=10, covered=packed(np.ones(10, bool)),
        trained_rows=10, lists=1, looked_into=1, recall={1: 1.0},
    ))  # fmt: skip


def _handed_over(folder: Path, number: int) -> None:
    """What a worker of a dead run has made of a picture."""
    store_id = Store(folder).manifest.store_id
    place = folder / "runs" / store_id / "1"
    place.mkdir(parents=True, exist_ok=True)
    content = sha256(number)
    arrays = {"sha256": np.frombuffer(content, np.uint8), "vectors": vector(content, "a", 3)}
    message = Message("rows", store_id, 1, {"files": [file_of(number).path]}, arrays)
    (place / f"rows-{number}-gpu0").write_bytes(encode(message))
    (place / f"shard-{number}").write_bytes(encode(Message("shard", store_id, 1, {"files": [file_of(2).path]})))


def left(*rows: int) -> list[str]:
    """What is found of rows in any file of the store, the gallery and the targets."""
    return [trace for row in rows for trace in traces(Path(), of(row))]


def test_nothing_is_left_anywhere(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing that a picture is known by is in any file of the store, its index, what is kept of look-alikes, what
    workers handed over, thumbnails, and targets of deliveries; of all others everything is there."""
    for row in ROWS.tolist():
        places = {trace.split("/")[0] for trace in left(row)}
        assert {"store", "thumbnails"} <= places, "the search finds"
    assert {"out", "lance"} <= {trace.split("/")[0] for trace in left(7)}
    capfd.readouterr()
    assert code("forget", "store", "--where", CONDITION, "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert left(*ROWS.tolist()) == []
    assert all(left(row) for row in KEPT)
    assert {name: told[name] for name in ("rows", "still_there", "thumbnails", "indexes", "handed_over", "pending")} == {
        "rows": 3, "still_there": 2, "thumbnails": 6, "indexes": ["b"], "handed_over": 1, "pending": [],
    }  # fmt: skip
    assert [(done["name"], done["rows"], done["problem"]) for done in told["deliveries"]] == [
        ("files", 6, ""), ("tables", 6, ""),
    ]  # fmt: skip
    assert verify(store) == []
    assert (store / "runs" / Store(store).manifest.store_id / "1" / "rows-5-gpu0").exists()
    assert len(list(Path("thumbnails").glob("*/*"))) == 14
    assert code("verify", "store") == 0
    assert "3 pictures forgotten, of which nothing is left.\nSound.\n" in capfd.readouterr().out


def test_the_next_backup_has_forgotten_too(store: Path) -> None:
    """A backup holds what it held, until the next one to the same folder: then nothing is left of it there, in the
    ledger and parts as well."""
    backup(store, Path("backup"))
    forget(store, Which(CONDITION), thumbnails=Path("thumbnails"))
    assert any(traces(Path("backup"), of(row)) for row in ROWS.tolist())
    backup(store, Path("backup"))
    assert [trace for row in ROWS.tolist() for trace in traces(Path("backup"), of(row))] == []
    assert verify(Path("backup")) == []


def test_a_dry_run_only_tells(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """How many it would forget, and how many the next run would embed again; no byte is written."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capfd.readouterr()
    assert code("forget", "store", "--where", CONDITION, "--dry-run") == 0
    told = capfd.readouterr().out
    assert told.startswith(
        "It would forget 3 pictures.\n2 of them had a file at the last run. Where that is still in place,"
    )
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert {path for path in after if path.name[-4:] not in ("-shm", "-wal")} == {
        path for path in before if path.name[-4:] not in ("-shm", "-wal")
    }
    assert before.items() <= after.items()


def test_clusters_are_not_called_by_what_was_forgotten(store: Path) -> None:
    """Where a picture in the middle of a cluster goes, clusters are made anew; no look-alike points to it."""
    before = set(Store(store).columns["cluster"]) - {""}
    middle = np.flatnonzero(np.isin(Store(store).paths, [name.encode() for name in before])).tolist()
    forget(store, Which(f"row = {middle[0]}"), thumbnails=Path("thumbnails"))
    columns = Store(store).columns
    names = set(columns["cluster"]) - {""}
    assert len(names) == 3
    assert names <= {path.decode() for path in Store(store).paths}
    assert middle[0] not in columns["duplicate_of"]
    assert traces(store, of(middle[0])) == []


def gone(writer: StoreWriter, *numbers: int) -> None:
    """Let a scan not find some of the ten files any more."""
    ledger, scan = writer.ledger, writer.ledger.scans.begin()
    there = {n: file_of(n, f"new/{n} moved.png" if n in (2, 4) else "") for n in range(10) if n not in (3, *numbers)}
    ledger.scans.record(scan, there.values())
    ledger.scans.mark_gone(scan, "/photos")
    ledger.contents.record_read((file, n) for n, file in there.items())
    writer.update_locations(ledger.changes().stale_rows)
    ledger.settle()


def test_what_is_gone_for_a_while_is_forgotten(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows count from when a run saw that they were gone; one that came back counts anew, and what is there stays."""
    with StoreWriter(store) as writer:
        gone(writer, 1, 8)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    with StoreWriter(store) as writer:
        gone(writer, 8)
        gone(writer, 1, 8)
    monkeypatch.setattr(time, "time", lambda: now + 2.5 * 86_400)
    assert code("forget", "store", "--gone-for", "3d") == 0
    assert np.flatnonzero(forgotten.forgotten(Store(store))).tolist() == []
    assert code("forget", "store", "--gone-for", "2d") == 0
    assert np.flatnonzero(forgotten.forgotten(Store(store))).tolist() == [3, 8]
    assert left(3, 8) == []


def test_files_of_others_in_the_store_are_named(store: Path) -> None:
    """A table that somebody has put into the store's folder stays, and is told of if it names one of the pictures."""
    (store / "tables").mkdir()
    (store / "keep.csv").write_text(f"row,path\n7,{path_of(7)}\n")
    (store / "tables" / "digests").write_text(sha256(2).hex())
    (store / "README").write_text(path_of(5))
    (store / "labels" / "mood.csv.bak").write_bytes((store / "labels" / "mood.csv").read_bytes())
    told = forget(store, Which(CONDITION), thumbnails=Path("thumbnails"))
    assert [warning.split()[0] for warning in told.warnings] == [
        "store/keep.csv", "store/labels/mood.csv.bak", "store/tables/digests",
    ]  # fmt: skip
    assert (store / "keep.csv").exists()


@pytest.mark.parametrize("given", [["--gone-for", "30"], ["--gone-for", "x"], ["--where", "row ="], []])
def test_wrong_usage_erases_nothing(given: list[str], store: Path) -> None:
    """Exit code 2 for a span that is none, a condition that is none, and for nothing."""
    revision = Store(store).manifest.revision
    assert code("forget", "store", *given) == 2
    assert Store(store).manifest.revision == revision


def failing(kind: str) -> Callable[..., object]:
    def opener(delivery: object) -> object:
        raise TargetUnavailable(f"{kind} is down.")

    return opener


def test_a_target_that_is_down_is_told_until_it_is_done(
    store: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, by `forget` and `verify`, and a word in each report, until a target has forgotten as well; the store
    has, at once."""
    with monkeypatch.context() as patch:
        patch.setitem(targets._OPENERS, "lancedb", failing("lancedb"))
        assert code("forget", "store", "--where", CONDITION) == 1
        told = capfd.readouterr().out
        assert "tables: lancedb is down." in told
        assert "may still lie where deliveries went (tables)" in told
    assert {trace.split("/")[0] for trace in left(7)} == {"lance"}
    assert code("verify", "store") == 1
    assert "Sound, but something may be left of what was forgotten." in capfd.readouterr().out
    with StoreWriter(store) as writer:
        assert any("deliveries went (tables)" in warning for warning in writer.warnings)
    assert code("forget", "store") == 0
    assert left(*ROWS.tolist()) == []
    assert code("verify", "store") == 0
    assert code("forget", "store") == 2


def test_a_label_that_is_given_meanwhile_goes_as_well(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody who still sees the picture in the gallery while it is erased."""
    really, row = forgetting.erase, int(ROWS[0])

    def meanwhile(writer: StoreWriter, rows: np.ndarray) -> None:
        LabelFile(store, "animal").give("cat", {sha256(row): path_of(row), sha256(8): path_of(8)})
        really(writer, rows)

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "erase", meanwhile)
        forget(store, Which(CONDITION), thumbnails=Path("thumbnails"))
    assert LabelFile(store, "animal").values() == {sha256(8): "cat"}
    assert [trace for row in ROWS.tolist() for trace in traces(store, of(row))] == []


def test_a_delivery_that_nobody_makes_any_more_is_told(store: Path) -> None:
    """One that the settings do not name stays on record, until what is known of it is taken away as well."""
    (other := Path("other.toml")).write_text(SETTINGS.partition('[[deliveries]]\nname = "tables"')[0])
    assert code("forget", "store", "--where", CONDITION, "--config", str(other)) == 1
    assert forgotten.on_record(store).deliveries == ("tables",)
    (store / "deliveries" / "tables.json").unlink()
    assert code("forget", "store", "--config", str(other)) == 0
    assert verify(store) == []


def test_tags_of_a_table_keep_what_was_forgotten(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A version of LanceDB that somebody has tagged is theirs: it is told, and stays on record."""
    import lancedb

    table = lancedb.connect("lance").open_table("tables")
    table.tags.create("mine", table.version)
    assert code("forget", "store", "--where", CONDITION) == 1
    assert "Its versions mine keep that: remove these tags." in " ".join(capfd.readouterr().out.split())
    lancedb.connect("lance").open_table("tables").tags.delete("mine")
    assert code("forget", "store") == 0
    assert left(*ROWS.tolist()) == []


def test_the_next_run_ends_what_was_cut_off(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What died before anything was erased is on record, is told by `verify`, and done by the next run."""
    with monkeypatch.context() as patch:
        patch.setattr("pixelmill.forgetting.forget.erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget(store, Which(CONDITION), thumbnails=Path("thumbnails"))
    damages = verify(store)
    assert all(damage.is_sound for damage in damages)
    assert "Forgetting 3 rows of store was begun and is not done" in damages[0].problem
    resume(store, "")
    assert forgotten.on_record(store).rows == ()
    assert [trace for row in ROWS.tolist() for trace in traces(store, of(row))] == []

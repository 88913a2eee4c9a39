"""Deliveries to LanceDB, in a folder and on a server that speaks S3."""

from __future__ import annotations

import itertools
import re
import shutil
from asyncio import sleep
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from lancedb.index import FTS, Bitmap, HnswSq, IvfPq
from lancedb.table import AsyncTable

from pixelmill.deliver import base
from pixelmill.deliver.deliver import check, deliver, preview_delivery
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.lancedb import indexes, upkeep
from pixelmill.deliver.lancedb.database import LanceDatabase
from pixelmill.deliver.lancedb.table import KNOWN, Kept
from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.store.commit import StoreWriter
from pixelmill.store.reader import Store
from tests.support.columns import add_columns
from tests.support.delivery_engine import Engine, Failure
from tests.support.lance_engine import LanceBucket, LanceEngine, LanceFolder
from tests.support.prefect_server import ROOT
from tests.support.s3 import S3
from tests.support.stores import provenance, record_files, shard_rows
from tests.support.target_contract import TargetContract

ROWS = 300
_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path) -> LanceFolder:
    return LanceFolder(str(tmp_path / "lance é"))


@pytest.fixture
def bucket(s3_server: S3) -> LanceBucket:
    name = f"lance{next(_numbers)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return LanceBucket(s3_server, name)


@pytest.mark.slow
class TestFolder(TargetContract):
    """Tables on disk."""

    modules = ("pixelmill.deliver.lancedb.target",)

    @pytest.fixture
    def engine(self, memory: Path) -> Engine:
        return LanceFolder(str(memory / "lance é"))


@pytest.mark.slow
class TestBucket(TargetContract):
    """Tables on a server that speaks S3."""

    is_second = True
    modules = ("pixelmill.deliver.lancedb.target",)

    @pytest.fixture
    def engine(self, bucket: LanceBucket) -> Engine:
        return bucket


@pytest.fixture(params=["folder", "bucket"])
def engine(request: pytest.FixtureRequest) -> LanceEngine:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, LanceEngine)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """300 pictures with vectors of the model `a` and a label each."""
    add_pictures(tmp_path / "store", 0, ROWS)
    label(tmp_path / "store", "dog")
    return tmp_path / "store"


def add_pictures(store: Path, first: int, number: int) -> None:
    """More pictures, with vectors of the models `a` and `b`."""
    with StoreWriter(store) as writer:
        numbers = range(first, first + number)
        record_files(writer, range(first + number))
        writer.commit(shard_rows(numbers, [writer.matrix(provenance(model), "float32") for model in "ab"]))


def label(store: Path, *labels: str) -> None:
    """Labels in turns, for all pictures."""
    rows = len(Store(store))
    values = [labels[row % len(labels)] for row in range(rows)]
    add_columns(store, {"label": values, "taken_at": [None if row % 5 == 0 else 10**12 + row for row in range(rows)]},
                {"taken_at": "ms since 1970"})  # fmt: skip


def delivery_to(engine: LanceEngine, model: str = "a", where: str | None = None) -> Delivery:
    return Delivery(name="photos", to=engine.to, models=(model,), columns=("label", "taken_at"), where=where)


def delivered(store: Path, engine: LanceEngine, model: str = "a", *, full: bool = False) -> Delivered:
    """A delivery, after which target and store are equal, every value."""
    done = deliver(store, delivery_to(engine, model), full=full)
    assert done.is_equal, done
    found = check(store, delivery_to(engine, model), full=True)
    assert found.differences == ()
    assert found.compared == found.rows
    assert engine.leftovers("photos") == []
    return done


def test_a_delivery(engine: LanceEngine, store: Path) -> None:
    """What is delivered is all there, as it is in the store; the next delivery sends what is new and what has changed,
    and a new generation takes the place of the one before it."""
    assert preview_delivery(store, delivery_to(engine)).sent == ROWS
    assert engine.rows("photos") is None
    assert delivered(store, engine).sent == ROWS
    first = engine.rows("photos")
    assert first is not None
    assert sorted(first) == list(range(ROWS))
    assert first[7]["vector"] == Store(store)["a"].read(7, 8)[0].tolist()
    assert (first[7]["label"], first[5]["taken_at"]) == ("dog", None)
    assert delivered(store, engine).sent == 0
    add_pictures(store, ROWS, 10)
    label(store, *["dog"] * 9, "cat")
    assert delivered(store, engine).sent == 10 + ROWS // 10
    done = delivered(store, engine, full=True)
    assert (done.is_anew, done.rows) == (True, ROWS + 10)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_takes_nothing(folder: LanceFolder, store: Path, how: Failure) -> None:
    """A disk that is full or read-only is unavailable, in words; then the delivery goes on."""
    delivered(store, folder)
    label(store, "cat")
    words = {"full": "File too large", "read-only": "Read-only file system"}
    with folder.failing(how), pytest.raises(TargetUnavailable, match=f"Expected to deliver to .*{words[how]}"):
        deliver(store, delivery_to(folder))
    delivered(store, folder)


def test_words_of_s3() -> None:
    """Of what an S3 answers no more is told than what is wrong: neither keys nor places in LanceDB's source."""
    database = LanceDatabase("lancedb:s3://bucket/lance")
    answer = "<Error><Code>SignatureDoesNotMatch</Code>\n<Message>It does not match.</Message><StringToSign>hunter2"
    told = database.translated(
        RuntimeError(f'Generic {{ status: 403, body: "{answer}" }}, /registry/src/store.rs:12:3')
    )
    assert str(told).startswith("Expected lancedb:s3://bucket/lance to let this process in. It says: Sig")
    assert "It does not match. Set AWS_ACCESS_KEY_ID" in str(told)
    assert "hunter2" not in str(told)
    assert ".rs" not in str(told)


@pytest.mark.parametrize("name", ["photos", "photos__0123abcd"])
def test_tables_of_strangers(engine: LanceEngine, store: Path, name: str) -> None:
    """A table that no delivery made is refused under the delivery's name, and passed over under that of a generation;
    neither is touched."""
    engine.foreign_table(name, 3)
    if name == "photos":
        for step in (deliver, preview_delivery, check):
            with pytest.raises(DeliveryRefused, match="did not make"):
                step(store, delivery_to(engine))
    else:
        assert deliver(store, delivery_to(engine)).is_equal
    assert engine.foreign_table_is_whole(name)


def test_other_columns(engine: LanceEngine, store: Path) -> None:
    """A table whose columns somebody has changed is refused, with what is expected and what is there."""
    delivered(store, engine)
    engine.table("photos").add_columns({"mine": "row + 1"})
    with pytest.raises(
        DeliveryRefused, match=r"Expected the columns .* Got .*'mine': 'int64'.*Give it its own columns"
    ):
        deliver(store, delivery_to(engine))
    engine.table("photos").drop_columns(["mine"])
    delivered(store, engine)


def test_the_cloud(store: Path) -> None:
    """LanceDB Cloud is refused in words."""
    with pytest.raises(DeliveryRefused, match="tables of LanceDB Cloud are not delivered to"):
        deliver(store, Delivery(name="photos", to="lancedb:db://mine", models=("a",)))


def test_no_bucket(s3_server: S3, store: Path) -> None:
    """A bucket that is not there is refused, with what S3 says."""
    with pytest.raises(DeliveryRefused, match=r"NoSuchBucket: The specified bucket does not exist\. .*must be there"):
        deliver(store, Delivery(name="photos", to="lancedb:s3://nowhere/lance", models=("a",)))


def test_nothing_is_made_by_looking(folder: LanceFolder, store: Path) -> None:
    """A preview and a check make no folder."""
    assert preview_delivery(store, delivery_to(folder)).sent == ROWS
    assert check(store, delivery_to(folder)).differences == ("Nothing was delivered yet.",)
    assert not Path(folder.place).exists()


@pytest.mark.parametrize("what", sorted(LanceEngine.spoils))
def test_what_others_do_to_rows(folder: LanceFolder, store: Path, what: Any) -> None:
    """A check names what somebody has done to a row, and the next delivery mends it where the row's digest tells: rows
    that are missing, too many, or twice. With `full` it mends all."""
    delivered(store, folder)
    folder.spoil("photos", what, 7)
    assert check(store, delivery_to(folder)).differences != ()
    if what in ("missing", "extra", "again"):
        done = delivered(store, folder)
        assert (done.sent, done.deleted) == ((0, 1) if what == "extra" else (1, 0))
    else:
        delivered(store, folder, full=True)


def test_an_older_version(folder: LanceFolder, store: Path) -> None:
    """A table that somebody takes back to an older version is made right by the next delivery, though what is known of
    it was true once."""
    delivered(store, folder)
    table = folder.table("photos")
    before = table.version
    label(store, "cat")
    delivered(store, folder)
    label(store, "dog")
    delivered(store, folder)
    table.checkout(before)
    table.restore()
    label(store, "cat")
    assert delivered(store, folder).sent == ROWS


def test_who_has_it_open(engine: LanceEngine, store: Path) -> None:
    """Who has a table open goes on with it while a new generation takes its place, and sees that when it looks for it."""
    delivered(store, engine)
    table = engine.table("photos")
    before = {row["row"]: row["vector"] for row in table.to_arrow().to_pylist()}
    assert delivered(store, engine, "b").is_anew
    assert {row["row"]: row["vector"] for row in table.to_arrow().to_pylist()} == before
    assert len(table.search(before[3]).limit(5).to_list()) == 5
    table.checkout_latest()
    assert {row["row"]: row["vector"] for row in table.to_arrow().to_pylist()} != before


class Ended(BaseException):
    """A process that comes to its end, as far as those can tell who come after it."""


def comes_to_its_end(work: Callable[[], object], calls: int) -> bool:
    """Whether `work` is done with so many calls to LanceDB; else it has ended in front of the next one."""
    left = itertools.count(calls, -1)

    def counted(method: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            if next(left) <= 0:
                raise Ended
            return method(*args, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "rename"):
            patch.setattr(LanceDatabase, name, counted(getattr(LanceDatabase, name)))
        try:
            work()
        except Ended:
            return False
    return True


@pytest.fixture(params=[29, pytest.param(2, marks=pytest.mark.slow)])
def every(request: pytest.FixtureRequest) -> int:
    """Every so-manieth call is the last one, in turns."""
    return int(request.param)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 rows."""
    monkeypatch.setattr(base, "BLOCK", 64)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("what", ["first", "changes", "generation"])
def test_an_end_at_every_call(
    folder: LanceFolder, store: Path, what: str, every: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever call to LanceDB is the last one, the next delivery makes table and store equal: of a first delivery, of
    rows that are new, other and gone, and of a new generation beside one that is served."""
    monkeypatch.setattr(upkeep, "SMALL_FILES", 2)
    Path(folder.place).mkdir()
    if what != "first":
        deliver(store, delivery_to(folder))
        folder.table("photos").create_index("label", config=Bitmap())
        add_pictures(store, ROWS, 20)
        label(store, *["dog"] * 60, "cat")
    shutil.copytree(folder.place, tmp_path / "before")
    goal = delivery_to(folder, "b" if what == "generation" else "a", where="label = 'cat' OR row < 130 OR row > 210")
    for calls in itertools.count(1, every):
        shutil.rmtree(folder.place)
        shutil.copytree(tmp_path / "before", folder.place)
        is_done = comes_to_its_end(lambda: deliver(store, goal), calls)
        assert deliver(store, goal).is_equal
        assert check(store, goal, full=True).differences == ()
        assert folder.leftovers("photos") == []
        if what != "first":
            assert {index.name for index in folder.table("photos").list_indices()} == {"row_idx", "label_idx"}
        if is_done:
            break
    assert calls > 30


INDEXES = {
    "vector": [
        IvfPq(distance_type="cosine", num_partitions=2, num_sub_vectors=1),
        HnswSq(distance_type="dot", m=9, ef_construction=44),
    ],
    "path": [FTS(with_position=True, stem=False)],
    "label": [Bitmap()],
}
"""What a user may have made on which column."""


def made(engine: LanceEngine) -> dict[str, tuple[str, str, int, dict[str, Any]]]:
    """The indexes of the table by name: column, kind, rows that are not in it, what is told of it."""
    found = engine.table("photos").list_indices()
    left_out = ("runtime_hints",)
    return {
        index.name: (
            index.columns[0], index.index_type, index.num_unindexed_rows,
            {name: value for name, value in (index.index_details or {}).items() if name not in left_out},
        )
        for index in found
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "number"), [(column, number) for column in INDEXES for number in range(len(INDEXES[column]))]
)
def test_indexes(folder: LanceFolder, store: Path, column: str, number: int) -> None:
    """An index that a user has made has all rows in it after a night that brings many, and is there as it was, over the
    new rows, when a generation of other vectors has taken the place of the one before it."""
    delivered(store, folder)
    folder.table("photos").create_index(column, config=INDEXES[column][number], name="mine")
    before = made(folder)
    assert before["mine"][2] == 0
    add_pictures(store, ROWS, 20)
    label(store, "cat")
    delivered(store, folder)
    assert made(folder) == before
    delivered(store, folder, "b")
    assert made(folder) == before


def test_an_index_of_few_rows(folder: LanceFolder, store: Path) -> None:
    """An index that a new generation has too few rows for stays, and has all rows once there are enough."""
    delivered(store, folder)
    folder.table("photos").create_index("vector", config=INDEXES["vector"][0], name="mine")
    assert deliver(store, delivery_to(folder, "b", where="row < 100")).is_equal
    assert made(folder)["mine"][2] == 100
    delivered(store, folder, "b")
    assert made(folder)["mine"][2] == 0


def test_an_index_of_a_column_that_goes(folder: LanceFolder, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An index goes with its column, and the log says so."""
    delivered(store, folder)
    folder.table("photos").create_index("label", config=Bitmap(), name="mine")
    assert deliver(store, Delivery(name="photos", to=folder.to, models=("a",))).is_anew
    assert "index=mine: its column label is not delivered any more" in caplog.text
    assert set(made(folder)) == {"row_idx"}


def test_an_index_that_cannot_be_made(
    folder: LanceFolder, store: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of a kind that this program does not know is told in the log, fails no delivery, and is made by the first
    one that can."""
    delivered(store, folder)
    folder.table("photos").create_index("label", config=Bitmap(), name="mine")
    with monkeypatch.context() as patch:
        patch.setattr(indexes, "_OTHERS", ("BTree",))
        delivered(store, folder, "b")
    assert "index=mine kind=Bitmap column=label: it cannot be made over the new rows" in caplog.text
    assert set(made(folder)) == {"row_idx"}
    delivered(store, folder, "b")
    assert set(made(folder)) == {"row_idx", "mine"}


@pytest.mark.slow
def test_the_disk_does_not_fill(folder: LanceFolder, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small deliveries, each of which replaces a few rows, leave neither more and more files nor more and more versions
    behind; what is older than a day goes (here: at once)."""
    monkeypatch.setattr(upkeep, "OLD_VERSIONS", timedelta(seconds=0))
    delivered(store, folder)
    files = []
    for night in range(20):
        label(store, *["dog"] * night, "cat", *["dog"] * 40)
        delivered(store, folder)
        files.append(sum(path.is_file() for path in Path(folder.place).rglob("*")))
    assert max(files[10:]) <= max(files[:10])
    assert max(files) < 100
    assert len(folder.table("photos").list_versions()) < 20


def test_versions_with_tags(
    folder: LanceFolder, store: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """A version that has a tag stays, and no delivery fails of it; the log says that old versions stay because of it."""
    monkeypatch.setattr(upkeep, "OLD_VERSIONS", timedelta(seconds=0))
    delivered(store, folder)
    table = folder.table("photos")
    table.tags.create("keep", table.version)
    table.branches.create("mine")
    for night in range(3):
        label(store, f"cat {night}")
        delivered(store, folder)
    assert "tags=keep: old versions stay" in caplog.text
    table.checkout("keep")
    assert set(table.to_arrow()["label"].to_pylist()) == {"dog"}
    assert {index[2] for index in made(folder).values()} == {0}


def test_it_is_tidied_now_and_then(folder: LanceFolder, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that changes nothing leaves the table alone, and tidies it where that has not been done for a week."""
    delivered(store, folder)
    label(store, *["dog"] * 200, "cat")
    tidied = []
    with monkeypatch.context() as patch:
        patch.setattr(AsyncTable, "optimize", lambda table, **_: tidied.append(table.name) or sleep(0))
        delivered(store, folder)
        assert tidied == []
        table = folder.table("photos")
        told = Kept.model_validate_json(table.schema.field("row").metadata[KNOWN.encode()])
        assert timedelta(days=6) < told.tidy_at - datetime.now(UTC) < timedelta(days=8)
        assert told.version == table.version
        past = told.model_copy(update={"tidy_at": datetime.now(UTC), "version": told.version + 1})
        table.update_field_metadata({"path": "row", "metadata": {KNOWN: past.model_dump_json()}})
        delivered(store, folder)
    assert tidied == ["photos"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_two_copies_of_a_store(
    request: pytest.FixtureRequest, kind: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two copies of a store that are delivered to one table at the same time, over and over: whoever finds that another
    writes says so, no row is ever there twice, and what one delivers alone after that is equal, with nothing taken for
    right that the other has written."""
    engine, other = request.getfixturevalue(kind), tmp_path / "other"
    shutil.copytree(store, other)
    label(other, "cat", "horse")
    told = list[str]()

    def again(copy: Path) -> None:
        for turn in range(6):
            label(copy, f"{copy.name} {turn}", "dog")
            try:
                deliver(copy, delivery_to(engine))
            except TargetUnavailable as error:
                told.append(str(error))
            engine.rows("photos")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(again, (store, other)))
    assert any("Something else writes" in words for words in told), told
    delivered(store, engine)
    delivered(other, engine)


def test_files_that_are_gone(folder: LanceFolder, store: Path) -> None:
    """A table of which files are missing is refused, with what to do."""
    delivered(store, folder)
    for path in Path(folder.place).glob("photos.lance/data/*.lance"):
        path.unlink()
    with pytest.raises(DeliveryRefused, match=r"Expected the table 'photos' .* to be whole.*remove it"):
        check(store, delivery_to(folder))
    shutil.rmtree(Path(folder.place) / "photos.lance")
    assert delivered(store, folder).sent == ROWS


@pytest.mark.parametrize("part", ["_versions", "data", "_indices"])
def test_files_that_are_cut_off(folder: LanceFolder, store: Path, part: str) -> None:
    """A table whose files are cut off, as a disk may leave them, is refused, with what to do."""
    delivered(store, folder)
    label(store, "cat")
    for path in Path(folder.place).glob(f"photos.lance/{part}/**/*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for step in (deliver, check):
        with pytest.raises(DeliveryRefused, match=r"to be whole. One is damaged: .*\. Remove it, and the next"):
            step(store, delivery_to(folder))


def test_what_is_no_table(folder: LanceFolder, store: Path) -> None:
    """A folder that is called as the table is, and is none, stays as it is, with the table in it; half of a generation
    goes."""
    for name in ("photos", "photos__0123abcd"):
        (Path(folder.place) / f"{name}.lance/data").mkdir(parents=True)
        (Path(folder.place) / f"{name}.lance/data/some.lance").write_bytes(b"of a process that was killed")
    delivered(store, folder)
    assert (Path(folder.place) / "photos.lance/data/some.lance").exists()


def test_the_page_says_how_to_search(folder: LanceFolder, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest of a label, rows by a condition in SQL, and indexes."""
    label(store, "dog", "cat")
    delivery = delivery_to(folder).model_copy(update={"name": "search"})
    assert deliver(store, delivery).is_equal
    search, index = re.findall(r"```python\n(.*?)```", section("LanceDB"), re.DOTALL)
    names = {"vector": Store(store)["a"].read(8, 9)[0]}
    exec(search.replace("/data/lance", folder.place).replace("2024-01-01", "2001-09-09"), names)
    exec(index, names)
    assert capsys.readouterr().out
    assert names["dogs"]["row"].iloc[0] == 8
    assert set(names["dogs"]["label"]) == {"dog"}
    assert len(names["dogs"]) == 10
    assert {found.name for found in folder.table("search").list_indices()} == {"row_idx", "vector_idx", "label_idx"}


def section(name: str) -> str:
    """Of docs/deliveries.md."""
    page = (ROOT / "docs/deliveries.md").read_text()
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]

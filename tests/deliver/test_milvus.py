"""Milvus Lite, a server of its own and a file, as others read it by Milvus's client."""

from __future__ import annotations

import fcntl
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_lite.db import LOCK_FILENAME
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from pixelmill.deliver import base
from pixelmill.deliver.deliver import check, deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import TargetUnavailable
from pixelmill.store.reader import Store
from tests.support.delivered import LARGE, large_store
from tests.support.deliveries import expected
from tests.support.delivery_engine import EXTRA, Engine, Failure, Spoilt
from tests.support.engines import Milvus
from tests.support.photos import Photos
from tests.support.prefect_server import ROOT
from tests.support.target_contract import TargetContract
from tests.support.targets.asking import delivered, delivery_to, require_rows, require_sound

TIMES = ("taken_at", "taken")
FIELDS = ["*"]
LOST = 2


class Collections(Engine):
    """All collections of a server, which is emptied first."""

    failures = ("down", "slow", "full")
    longest_text = 65_535

    def __init__(self, server: Milvus) -> None:
        logging.getLogger("pymilvus").disabled = True
        self._server, self.to = server, server.url
        self.asked(lambda client: [self._drop(client, name) for name in client.list_collections()])

    @staticmethod
    def _drop(client: MilvusClient, name: str) -> None:
        for alias in client.list_aliases(name)["aliases"]:
            client.drop_alias(alias)
        client.drop_collection(name)

    def asked(self, ask: Any) -> Any:
        """By a client of its own; after a server was lost it refuses for a while."""
        end = time.monotonic() + 20
        while True:
            try:
                client = MilvusClient(self._server.http, timeout=10)
                return ask(client)
            except MilvusException as error:
                if error.code != LOST or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        def read(client: MilvusClient) -> list[dict[str, Any]] | None:
            if not client.has_collection(name):
                return None
            client.load_collection(name)
            return list(client.query(name, "row >= 0", output_fields=FIELDS))

        found = self.asked(read)
        return None if found is None else {one["row"]: self._plain(one) for one in found}

    @staticmethod
    def _plain(row: dict[str, Any]) -> dict[str, Any]:
        times = {name: row[name] for name in TIMES if row.get(name) is not None}
        moments = {name: np.datetime64(at, "ms").astype(datetime) for name, at in times.items()}
        return {**row, "vector": [float(number) for number in row["vector"]], **moments}

    def leftovers(self, name: str) -> list[str]:
        def look(client: MilvusClient) -> list[str]:
            served = client.describe_collection(name)["collection_name"]
            return sorted(one for one in client.list_collections() if one.rpartition("__")[0] == name and one != served)

        return list(self.asked(look))

    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        def change(client: MilvusClient) -> None:
            client.load_collection(name)
            (there,) = client.query(name, ids=[row], output_fields=FIELDS)
            there = dict(there)
            if what == "missing":
                client.delete(name, ids=[row])
                return
            if what == "vector":
                there["vector"] = [there["vector"][0] + 1, *there["vector"][1:]]
            elif what == "column":
                there["path"] += "x"
            else:
                there["row"] = EXTRA
            client.upsert(name, [there])

        self.asked(change)

    def foreign_table(self, name: str, dim: int) -> None:
        def make(client: MilvusClient) -> None:
            schema = client.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
            index = client.prepare_index_params()
            index.add_index("vector", index_type="FLAT", metric_type="L2")
            client.create_collection(name, schema=schema, index_params=index)
            client.insert(name, [{"id": 1, "vector": [0.5] * dim}])

        self.asked(make)

    def foreign_table_is_whole(self, name: str) -> bool:
        return bool(self.asked(lambda client: [one["id"] for one in client.query(name, "id >= 0")]) == [1])

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        if how == "full":
            with self._server.full(64 << 10):
                yield
            return
        with {"down": self._server.down, "slow": self._server.paused}[how]():
            yield


@pytest.fixture
def engine(milvus: Milvus) -> Collections:
    return Collections(milvus)


@pytest.mark.slow
class TestMilvus(TargetContract):
    """A collection a generation, and an alias."""

    modules = ("pixelmill.deliver.milvus.target",)

    @pytest.fixture
    def engine(self, milvus: Milvus) -> Engine:
        return Collections(milvus)


@pytest.fixture
def photos(memory: Path) -> Photos:
    return Photos(memory / "store")


def test_the_page_says_how_to_search(engine: Collections, photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows that have the label, the nearest first; times are numbers."""
    delivery = delivery_to(engine, name="search")
    label = next(row["label"] for row in expected(photos.folder, delivery).values() if row["label"])
    delivered(engine, photos, delivery)
    wanted = engine.rows("search") or {}
    asked = next(iter(wanted.values()))["vector"]
    section = (ROOT / "docs/deliveries.md").read_text().partition("\n## Milvus\n")[2].partition("\n## ")[0]
    (query,) = re.findall(r"```python\n(.*?)```", section, re.S)
    exec(query.replace("host:19530", engine.to.partition("//")[2]).replace('"dog"', f'"{label}"'), {"vector": asked})
    shown = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    fitting = [row for row in wanted.values() if row["label"] == label]
    assert shown == [row["path"] for row in sorted(fitting, key=lambda row: -float(np.dot(asked, row["vector"])))][:10]


def test_times_are_milliseconds_since_1970(engine: Collections, photos: Photos) -> None:
    """So that they can be filtered by a range."""
    delivered(engine, photos, delivery_to(engine))
    said = {row: told["taken_at"] for row, told in (engine.rows("vectors") or {}).items() if told["taken_at"]}
    least = min(said.values())
    found = engine.asked(
        lambda client: client.query("vectors", f"taken_at <= {int(least.replace(tzinfo=UTC).timestamp() * 1000)}")
    )
    assert {one["row"] for one in found} == {row for row, at in said.items() if at == least}


READER = """
import sys
from pymilvus import MilvusClient
client = MilvusClient(sys.argv[1])
client.load_collection("vectors")
print(client.query("vectors", output_fields=["count(*)"])[0]["count(*)"], flush=True)
sys.stdin.read()
"""


def test_a_file_of_milvus_lite(photos: Photos, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without any server. Another process reads it afterwards; as long as it has it open a delivery says so."""
    place = tmp_path / "vectors.db"
    delivery = Delivery(name="vectors", to=f"milvus:{place}", models=("a",))
    assert deliver(photos.folder, delivery).is_equal
    with subprocess.Popen([sys.executable, "-c", READER, place], stdin=-1, stdout=-1, text=True) as reader:
        assert reader.stdout
        assert int(reader.stdout.readline()) == len(expected(photos.folder, delivery))
        with pytest.raises(TargetUnavailable, match="another process may have the file open"):
            deliver(photos.folder, delivery)
        reader.communicate()
    assert deliver(photos.folder, delivery).sent == 0
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_file_that_this_process_has_open_stays_so(photos: Photos, tmp_path: Path) -> None:
    """A delivery leaves it to whoever opened it."""
    place = tmp_path / "vectors.db"
    mine = MilvusClient(str(place))
    assert deliver(photos.folder, Delivery(name="vectors", to=f"milvus:{place}", models=("a",))).is_equal
    assert mine.has_collection("vectors")


def test_what_somebody_set_of_a_collection_goes_on(engine: Collections, photos: Photos) -> None:
    """Indexes of vectors and of other fields, settings and other aliases are those of a new generation as well."""
    delivered(engine, photos, delivery_to(engine))
    before = engine.asked(_chosen_by_people)
    photos.remake("a")
    photos.finish()
    delivered(engine, photos, delivery_to(engine))
    served = engine.asked(
        lambda client: [client.describe_alias(name)["collection_name"] for name in ("vectors", "current")]
    )
    assert served[0] == served[1] != before
    found = engine.asked(
        lambda client: {name: client.describe_index(served[0], name) for name in client.list_indexes(served[0])}
    )
    kinds = {told["field_name"]: (told["index_type"], told["metric_type"]) for told in found.values()}
    assert kinds["vector"] == ("HNSW", "COSINE")
    assert kinds["label"][0] == "INVERTED"
    told = engine.asked(lambda client: client.describe_collection(served[0]))
    assert told["properties"]["mmap.enabled"] == "true"
    assert told["consistency_level_name"] == "Strong"


def _chosen_by_people(client: MilvusClient) -> str:
    before = str(client.describe_alias("vectors")["collection_name"])
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 8, "efConstruction": 99})
    index.add_index("label", index_type="INVERTED")
    client.release_collection(before)
    client.drop_index(before, "vector")
    client.create_index(before, index)
    client.load_collection(before)
    client.alter_collection_properties(before, properties={"mmap.enabled": "true"})
    client.create_alias(before, "current")
    return before


def test_rows_before_the_first_are_found_and_go(engine: Collections, photos: Photos) -> None:
    """Numbers that no row has, on either side."""
    delivered(engine, photos, delivery_to(engine))

    def add(client: MilvusClient) -> None:
        there = dict(client.query("vectors", "row >= 0", output_fields=FIELDS, limit=1)[0])
        client.upsert("vectors", [{**there, "row": row} for row in (-(2**63), -1, 2**63 - 1)])

    engine.asked(add)
    assert any("too many" in told for told in check(photos.folder, delivery_to(engine)).differences)
    assert deliver(photos.folder, delivery_to(engine)).deleted == 3
    require_sound(photos, delivery_to(engine))


def test_names_that_milvus_keeps_for_itself_are_mended(engine: Collections, photos: Photos) -> None:
    """The words of its conditions have a `_` behind them, as fields."""
    names = ("in", "like", "Null", "Timestamp")
    for name in names:
        photos.columns({name: [f"of {row}" for row in range(len(Store(photos.folder)))]})
    delivery = delivery_to(engine, columns=names)
    assert deliver(photos.folder, delivery).is_equal
    require_sound(photos, delivery)
    (first, *_) = (engine.rows("vectors") or {}).values()
    assert {f"{name}_" for name in names} < first.keys()


def test_an_index_that_a_kill_kept_from_a_generation_is_made(
    engine: Collections, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes a collection, then its index, and loads it."""

    def lost(*_: object, **__: object) -> None:
        raise TargetUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(MilvusClient, "create_index", lost)
        with pytest.raises(TargetUnavailable, match="killed"):
            deliver(photos.folder, delivery_to(engine))
    delivered(engine, photos, delivery_to(engine))
    assert engine.asked(lambda client: client.list_indexes(client.describe_alias("vectors")["collection_name"])) == [
        "vector"
    ]


def test_a_copy_of_a_collection_is_none_of_a_delivery(engine: Collections, photos: Photos) -> None:
    """Somebody restored one under another name, with all that is known of it: it is not touched."""
    delivered(engine, photos, delivery_to(engine))

    def copy(client: MilvusClient) -> None:
        engine.foreign_table("vectors__backup", 3)
        known = client.describe_collection("vectors")["properties"]
        client.alter_collection_properties("vectors__backup", properties={"pixelmill": known["pixelmill"]})

    engine.asked(copy)
    for _ in range(2):
        deliver(photos.folder, delivery_to(engine), full=True)
        require_sound(photos, delivery_to(engine))
    assert engine.foreign_table_is_whole("vectors__backup")


def test_a_kill_before_the_old_one_is_dropped(
    engine: Collections, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers have the new one; the next delivery drops the old one, though somebody's alias led to it."""
    delivered(engine, photos, delivery_to(engine))
    engine.asked(lambda client: client.create_alias(client.describe_alias("vectors")["collection_name"], "current"))

    def lost(*_: object, **__: object) -> None:
        raise TargetUnavailable("killed")

    for what in ("list_aliases", "drop_collection"):
        with monkeypatch.context() as patch:
            patch.setattr(MilvusClient, what, lost)
            with pytest.raises(TargetUnavailable, match="killed"):
                deliver(photos.folder, delivery_to(engine), full=True)
        require_rows(engine, delivery_to(engine), expected(photos.folder, delivery_to(engine)))
        assert len(engine.leftovers("vectors")) == 1
        delivered(engine, photos, delivery_to(engine))
        served = engine.asked(lambda client: client.describe_collection("vectors")["collection_name"])
        assert engine.asked(lambda client: client.describe_alias("current")["collection_name"]) == served


def test_what_somebody_has_deleted_is_made_anew(engine: Collections, photos: Photos) -> None:
    """With its alias."""
    told = delivered(engine, photos, delivery_to(engine))
    engine.asked(lambda client: engine._drop(client, client.describe_alias("vectors")["collection_name"]))
    assert delivered(engine, photos, delivery_to(engine)).sent == told.sent


@pytest.mark.slow
def test_a_large_block_comes_in_pieces_that_fit(
    engine: Collections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of vectors with 4,096 dimensions, and captions as long as they may be, no request comes near to 64 MB."""
    monkeypatch.setattr(base, "BLOCK", 1_024)
    store, sizes, upsert = large_store(tmp_path / "large", 65_535, rows=200), list[int](), MilvusClient.upsert

    def measured(client: MilvusClient, name: str, data: list[dict[str, Any]], **more: Any) -> Any:
        sizes.append(sum(len(row["caption"]) + row["vector"].nbytes for row in data))
        return upsert(client, name, data, **more)

    monkeypatch.setattr(MilvusClient, "upsert", measured)
    assert deliver(store, delivery_to(engine, columns=("caption",))).sent == LARGE
    assert max(sizes) < 9 << 20 < sum(sizes)
    assert not check(store, delivery_to(engine, columns=("caption",)), full=True).differences


def test_a_file_that_another_process_has_open_is_told_in_a_sentence(
    tmp_path: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be closed later. What Milvus Lite would print of it at each try is not printed."""
    monkeypatch.setattr(base, "SECONDS", 1.0)
    (tmp_path / "x.db").mkdir()
    with (tmp_path / "x.db" / LOCK_FILENAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TargetUnavailable, match="another process may have the file open"):
            deliver(photos.folder, Delivery(name="vectors", to=f"milvus:{tmp_path}/x.db", models=("a",)))
    assert "Traceback" not in caplog.text

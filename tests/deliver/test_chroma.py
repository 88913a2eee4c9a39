"""Deliveries to Chroma, against its own server; what readers see is read by Chroma's own client."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pixelmill.deliver import base
from pixelmill.deliver.chroma.server import ChromaServer
from pixelmill.deliver.chroma.target import ChromaTarget
from pixelmill.deliver.deliver import check, deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.targets import open_target
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.store.reader import Store
from tests.support.between import Answer, Asked, between
from tests.support.columns import TIME, add_columns, clock, store_with
from tests.support.delivered import LARGE, large_store, query_of
from tests.support.delivery_engine import EXTRA, Engine, Failure, Spoilt
from tests.support.engines import Chroma
from tests.support.target_contract import TargetContract

pytestmark = pytest.mark.slow
DATABASES = count()
SECRET = "hunter2-of-chroma"


class ChromaEngine(Engine):
    """A database of its own on the session's server, and Chroma's client for it."""

    failures = ("down", "slow", "full")
    switches_at_once = False

    def __init__(self, server: Chroma) -> None:
        import chromadb

        self._server, self.database = server, f"photos{next(DATABASES)}"
        home = f"http://127.0.0.1:{server.port}/api/v2/tenants/default_tenant/databases"
        httpx.post(home, json={"name": self.database}).raise_for_status()
        opened: Any = chromadb.HttpClient
        self.client = opened(host="127.0.0.1", port=server.port, tenant="default_tenant", database=self.database)
        self.to = f"{server.url}/default_tenant/{self.database}"

    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        from chromadb.errors import NotFoundError

        while True:
            try:
                collection = self.client.get_collection(name, embedding_function=None)
            except NotFoundError:
                return None
            with suppress(NotFoundError):  # dropped meanwhile
                return self._read(collection)

    @staticmethod
    def _read(collection: Any) -> dict[int, dict[str, Any]]:
        columns = json.loads(collection.metadata["pixelmill"])["definition"]["columns"]
        times = [column["name"] for column in columns if column["kind"] == "time"]
        found = collection.get(include=["embeddings", "metadatas"])
        rows = {}
        for one, metadata, vector in zip(found["ids"], found["metadatas"], found["embeddings"], strict=True):
            row = {**{column["name"]: None for column in columns}, **metadata, "vector": [float(v) for v in vector]}
            moments = {name: row[name] for name in times if row[name] is not None}
            row |= {name: np.datetime64(at, "ms").astype(datetime) for name, at in moments.items()}
            rows[int(one)] = row
        return rows

    def leftovers(self, name: str) -> list[str]:
        names = [collection.name for collection in self.client.list_collections()]
        return sorted(one for one in names if re.fullmatch(f"{name}__[0-9a-f]{{8}}", one))

    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        collection = self.client.get_collection(name, embedding_function=None)
        there = collection.get(ids=[str(row)], include=["embeddings", "metadatas"])
        if what == "missing":
            collection.delete(ids=[str(row)])
        elif what == "extra":
            metadata = {**there["metadatas"][0], "row": EXTRA}
            collection.add(ids=[str(EXTRA)], embeddings=there["embeddings"], metadatas=[metadata])
        elif what == "vector":
            collection.update(ids=[str(row)], embeddings=there["embeddings"] + 1)
        else:
            collection.update(ids=[str(row)], metadatas=[{"path": "/elsewhere.jpg"}])

    def foreign_table(self, name: str, dim: int) -> None:
        collection = self.client.create_collection(name, embedding_function=None, metadata={"of": "strangers"})
        collection.add(ids=["theirs"], embeddings=[[1.0] * dim])

    def foreign_table_is_whole(self, name: str) -> bool:
        collection = self.client.get_collection(name, embedding_function=None)
        return bool(collection.metadata == {"of": "strangers"} and collection.get()["ids"] == ["theirs"])

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        failing = {"down": self._server.down, "slow": self._server.paused, "full": self._full}
        with failing[how]():
            yield

    @contextmanager
    def _full(self) -> Iterator[None]:
        """Started again after it: Chroma may leave the next write without an answer."""
        with self._server.full(4096):
            yield
        with self._server.down():
            pass


@pytest.fixture
def engine(chroma: Chroma) -> ChromaEngine:
    return ChromaEngine(chroma)


class TestChroma(TargetContract):
    """A collection a generation, renamed."""

    modules = ("pixelmill.deliver.chroma.target",)

    @pytest.fixture
    def engine(self, chroma: Chroma) -> Engine:
        return ChromaEngine(chroma)


VALUES: dict[str, list[Any]] = {
    "label": ["dog", None, "cat", "two dogs\nand a cat", "ünï"],
    "stars": [5, None, -(2**63) + 1, 2**63 - 1, 0],
    "share": [0.1, None, -1e300, 5.0, 5e-324],
    "taken_at": [clock("2024-05-06T07:08:09.123"), None, clock("1066-10-14"), clock("2200-01-01"), 0],
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_with(tmp_path / "store", VALUES, {"taken_at": TIME})


def delivery(engine: Engine, *columns: str, name: str = "search", **more: Any) -> Delivery:
    return Delivery(name=name, to=engine.to, models=("a",), columns=columns or tuple(VALUES), **more)


def refused(store: Path, to: str, **more: Any) -> str:
    with pytest.raises(DeliveryRefused) as error:
        deliver(store, Delivery(name=more.pop("name", "search"), to=to, models=("a",), **more))
    return str(error.value)


def unavailable(store: Path, given: Delivery) -> str:
    with pytest.raises(TargetUnavailable) as error:
        deliver(store, given)
    return str(error.value)


def test_every_value_comes_as_it_is(store: Path, engine: ChromaEngine) -> None:
    """Whole numbers of 64 bits, doubles, texts and times arrive exactly, what is missing is left out, and vectors to the
    last bit but one, which the comparison by cosine costs."""
    deliver(store, delivery(engine))
    rows = engine.rows("search")
    assert rows is not None
    for name in ("label", "stars", "share"):
        assert [rows[row][name] for row in range(5)] == VALUES[name]
    assert rows[0]["taken_at"] == datetime(2024, 5, 6, 7, 8, 9, 123000)
    assert rows[2]["taken_at"] == datetime(1066, 10, 14)
    assert rows[1]["taken_at"] is None
    np.testing.assert_allclose([rows[row]["vector"] for row in range(5)], Store(store)["a"][:], rtol=3e-7)
    assert engine.client.get_collection("search").get(ids=["1"])["metadatas"][0].keys() == {
        "row", "path", "source", "sha256", "digest",
    }  # fmt: skip


def test_what_is_no_longer_known_goes(store: Path, engine: ChromaEngine) -> None:
    """A value that went missing is taken away, though Chroma keeps what an upsert does not name."""
    deliver(store, delivery(engine))
    add_columns(store, {**VALUES, "label": ["dog", "hen", None, None, None]}, {"taken_at": TIME})
    assert deliver(store, delivery(engine)).sent == 4
    rows = engine.rows("search")
    assert rows is not None
    assert [rows[row]["label"] for row in range(5)] == ["dog", "hen", None, None, None]
    assert not check(store, delivery(engine)).differences


def test_the_nearest_that_fulfil_something(store: Path, engine: ChromaEngine, chroma: Chroma) -> None:
    """The query of the documentation gives the nearest that it asks for, with the distance of the cosine."""
    deliver(store, delivery(engine))
    vectors = Store(store)["a"][:]
    told = {"host": "127.0.0.1", "port": chroma.port, "tenant": "default_tenant", "database": engine.database}
    query = query_of("Chroma").replace('host="host", port=8000', ", ".join(f"{k}={v!r}" for k, v in told.items()))
    ran: dict[str, Any] = {"vector": vectors[0].tolist()}
    exec(query, ran)
    rows = engine.rows("search")
    assert rows is not None
    cosine = vectors[0] @ vectors[2] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[2])
    assert ran["nearest"] == [(rows[2]["path"], pytest.approx(1 - cosine, abs=1e-6))]


def test_a_name_is_given_back(store: Path, engine: ChromaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery killed between the two renames leaves nothing under the name. The next one first lets readers have the
    old generation again, also where that next one makes yet another."""
    deliver(store, delivery(engine))
    change = ChromaServer.change

    def killed_at_the_second(self: ChromaServer, collection: str, **to: Any) -> None:
        if to.get("name") == "search":
            raise TargetUnavailable("killed")
        change(self, collection, **to)

    def killed(*_: object) -> None:
        raise TargetUnavailable("killed")

    for columns, then in (("label", "label"), ("stars", "share")):
        before = engine.rows("search")
        with monkeypatch.context() as patch:
            patch.setattr(ChromaServer, "change", killed_at_the_second)
            assert unavailable(store, delivery(engine, columns)) == "killed"
        assert engine.rows("search") is None
        assert len(engine.leftovers("search")) == 2
        with monkeypatch.context() as patch:
            patch.setattr(ChromaTarget, "held", killed)
            assert unavailable(store, delivery(engine, then)) == "killed"
        assert engine.rows("search") == before
        deliver(store, delivery(engine, then))
        assert not check(store, delivery(engine, then)).differences
        assert engine.leftovers("search") == []


def test_rows_by_the_number_of_others_go(store: Path, engine: ChromaEngine) -> None:
    """What somebody added under an id that is no row, with the number of one, is deleted with the next change of it."""
    deliver(store, delivery(engine))
    collection = engine.client.get_collection("search", embedding_function=None)
    collection.add(ids=["copy"], embeddings=[[1, 2, 3]], metadatas=[{"row": 2}])
    assert check(store, delivery(engine)).differences == ("6 rows instead of 5.", "1 row there more than once: 2.")
    deliver(store, delivery(engine))
    assert not check(store, delivery(engine)).differences
    assert collection.count() == 5


def test_two_copies_of_a_store_at_once(store: Path, engine: ChromaEngine) -> None:
    """A delivery that finds that another wrote down what it knows meanwhile ends, and leaves nothing for known."""
    deliver(store, delivery(engine))
    with open_target(delivery(engine)) as ours, open_target(delivery(engine)) as theirs:
        (mine,), (other,) = ours.generations(), theirs.generations()
        theirs.keep(other.marked(0, ""))
        with pytest.raises(TargetUnavailable, match="from a copy of this store"):
            ours.keep(mine)
        with pytest.raises(TargetUnavailable, match="from a copy of this store"):
            theirs.keep(other)
        assert ours.generations()[0].marks == ()
    assert deliver(store, delivery(engine)).sent == 0


def test_what_chroma_does_not_have(store: Path, engine: ChromaEngine) -> None:
    """A database that is not there, and a name that Chroma takes for no collection, are refused in words."""
    words = refused(store, engine.to + "x")
    assert f"in it the database '{engine.to.rpartition('/')[2]}x'. It has none: make it there" in words
    assert "to end with a letter or digit. Got 'search_'" in refused(store, engine.to, name="search_")


def test_strangers_keep_theirs(store: Path, engine: ChromaEngine) -> None:
    """A collection of somebody else's under the name is refused and stays; beside it, it is none of ours."""
    engine.foreign_table("search", 3)
    assert "one of somebody else's. Nothing of it was touched" in refused(store, engine.to)
    assert engine.foreign_table_is_whole("search")
    engine.foreign_table("photos__0123abcd", 3)
    assert deliver(store, delivery(engine, name="photos")).rows == 5
    assert engine.foreign_table_is_whole("photos__0123abcd")
    assert "one of somebody else's" in refused(store, engine.to, name="photos__0123abcd")


def test_one_that_does_not_answer(store: Path, engine: ChromaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is down, full or silent fails the delivery in words, in time; then it goes on."""
    with engine.failing("down"):
        words = unavailable(store, delivery(engine))
        assert words.startswith(f"Expected {engine.to} to answer. It cannot be reached: ")
    with engine.failing("full"):
        assert "to do what it was asked. It cannot now: " in unavailable(store, delivery(engine))
    monkeypatch.setattr(base, "SECONDS", 0.5)
    with engine.failing("slow"):
        words = unavailable(store, delivery(engine))
        assert words == f"Expected an answer of {engine.to} within 0.5 s. There was none."
    monkeypatch.undo()
    assert deliver(store, delivery(engine)).is_equal


def test_tokens(store: Path, engine: ChromaEngine, chroma: Chroma, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token, or a user's password, lets in where something before the server asks for it; no other, and none is
    told."""
    with between(chroma.port, asks_for(f"Bearer {SECRET}")) as at:
        to = f"chroma://127.0.0.1:{at}"
        words = refused(store, to, name="tokens")
        assert "PIXELMILL_PASSWORD_TOKENS is the token, or the password of the user in the address" in words
        for wrong in ("wrong", "broken \n token"):
            monkeypatch.setenv("PIXELMILL_PASSWORD_TOKENS", wrong)
            assert wrong.split()[0] not in refused(store, to, name="tokens").replace("PASSWORD_TOKENS", "")
        monkeypatch.setenv("PIXELMILL_PASSWORD_TOKENS", SECRET)
        assert deliver(store, Delivery(name="tokens", to=to, models=("a",))).rows == 5
    login = base64.b64encode(f"app:{SECRET}".encode()).decode()
    with between(chroma.port, asks_for(f"Basic {login}")) as at:
        result = deliver(store, Delivery(name="tokens", to=f"chroma://app@127.0.0.1:{at}", models=("a",)))
    assert result.is_equal
    assert SECRET not in result.model_dump_json()


def test_what_somebody_set_of_the_index_goes_on(store: Path, engine: ChromaEngine) -> None:
    """A new generation finds as exactly as the old one."""
    deliver(store, delivery(engine))
    engine.client.get_collection("search", embedding_function=None).modify(configuration={"hnsw": {"ef_search": 321}})
    assert deliver(store, delivery(engine, "label")).is_anew
    found = engine.client.get_collection("search", embedding_function=None)
    assert found.configuration_json["hnsw"]["ef_search"] == 321
    assert found.configuration_json["hnsw"]["space"] == "cosine"


def test_what_is_no_row_is_told_and_goes_with_all_made_anew(store: Path, engine: ChromaEngine) -> None:
    """Somebody added an entry that has no row: Chroma finds none by what it lacks."""
    deliver(store, delivery(engine))
    collection = engine.client.get_collection("search", embedding_function=None)
    collection.add(ids=["theirs"], embeddings=[[1, 2, 3]], metadatas=[{"of": "people"}])
    assert "has put there what no row is. `--full` makes it anew" in unavailable(store, delivery(engine))
    assert deliver(store, delivery(engine), full=True).is_equal
    assert not check(store, delivery(engine)).differences


def test_what_is_gone_can_be_thrown_away(engine: ChromaEngine) -> None:
    """A generation that somebody has dropped meanwhile is dropped."""
    with open_target(delivery(engine)) as target:
        target.drop("0123abcd")


def test_behind_a_path_that_takes_little(store: Path, engine: ChromaEngine, chroma: Chroma) -> None:
    """A proxy has it under a path, and takes a kilobyte at a time: it is given as many requests as it takes."""
    sent: list[int] = []

    def small(asked: Asked) -> tuple[int, bytes] | None:
        if not asked.path.startswith("/vectors/api"):
            return 404, b""
        asked.path = asked.path.removeprefix("/vectors")
        if asked.path.endswith("/upsert"):
            sent.append(len(asked.body))
            return (413, b"<html>") if sent[-1] > 1_000 else None
        return None

    given = delivery(engine)
    with between(chroma.port, small) as at:
        behind = given.model_copy(update={"to": f"chroma://127.0.0.1:{at}/vectors/default_tenant/{engine.database}"})
        assert deliver(store, behind).sent == 5
    assert len([size for size in sent if size <= 1_000]) > 1
    assert not check(store, given).differences


def test_what_somebody_has_deleted_is_made_anew(store: Path, engine: ChromaEngine) -> None:
    """Before a delivery, or in the middle of one."""
    deliver(store, delivery(engine))
    engine.client.delete_collection("search")
    assert deliver(store, delivery(engine)).sent == 5
    with open_target(delivery(engine)) as target:
        (kept,) = target.generations()
        engine.client.delete_collection("search")
        with pytest.raises(TargetUnavailable, match="It is gone"):
            target.count(kept.key)


def test_a_large_block_comes_in_pieces_that_fit(
    tmp_path: Path, engine: ChromaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of vectors with 4,096 dimensions, and long captions beside short ones, no request comes near to 40 MB."""
    monkeypatch.setattr(base, "BLOCK", 1_024)
    large, sizes, request = large_store(tmp_path / "large", 500_000), list[int](), httpx.Client.request

    def measured(client: httpx.Client, method: str, to: str, *, content: bytes | None, **more: Any) -> httpx.Response:
        sizes.append(len(content or b""))
        return request(client, method, to, content=content, **more)

    monkeypatch.setattr(httpx.Client, "request", measured)
    assert deliver(large, delivery(engine, "caption")).sent == LARGE
    assert max(sizes) <= 8 << 20
    assert not check(large, delivery(engine, "caption"), full=True).differences


def asks_for(authorization: str) -> Answer:
    """Something before a server that lets in who has the right header."""

    def let_in(asked: Asked) -> tuple[int, bytes] | None:
        return None if asked.headers.get("Authorization") == authorization else (401, b"<html>who are you?</html>")

    return let_in

"""Qdrant's own storage behind its REST, as others read it by Qdrant's client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from pixelmill.deliver import base
from pixelmill.deliver.deliver import check, deliver
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from tests.support.delivered import LARGE, large_store
from tests.support.deliveries import expected
from tests.support.delivery_engine import EXTRA, Engine, Failure, Spoilt
from tests.support.engines import PASSWORD, Qdrant
from tests.support.photos import Photos
from tests.support.prefect_server import ROOT
from tests.support.target_contract import TargetContract
from tests.support.targets.asking import delivered, delivery_to, require_rows, require_sound

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")

VARIABLE = "QDRANT_API_KEY"
TIMES = ("taken_at", "taken")


class Collections(Engine):
    """All collections of a server, which is emptied first."""

    failures = ("down", "slow", "full", "wrong password")
    secrets = (PASSWORD,)

    def __init__(self, server: Qdrant, patch: pytest.MonkeyPatch) -> None:
        self._server, self._patch, self.to = server, patch, server.url
        patch.setenv(VARIABLE, PASSWORD)
        self.url = f"http://127.0.0.1:{server.port}"
        self.client = QdrantClient(url=self.url, api_key=PASSWORD, timeout=60, check_compatibility=False)
        for found in self.client.get_collections().collections:
            self.client.delete_collection(found.name)

    def rows(self, name: str) -> dict[int, dict[str, Any]] | None:
        if not self.client.collection_exists(name):
            return None
        points, more = self.client.scroll(name, limit=10_000, with_vectors=True)
        assert more is None
        return {point.id: self._plain(point) for point in points}

    @staticmethod
    def _plain(point: models.Record) -> dict[str, Any]:
        said = {**(point.payload or {}), "vector": point.vector}
        times = {name: datetime.fromisoformat(value) for name, value in said.items() if name in TIMES and value}
        return said | times

    def served(self, name: str) -> str:
        return {alias.alias_name: alias.collection_name for alias in self.client.get_aliases().aliases}[name]

    def dim(self, name: str) -> int:
        vectors = self.client.get_collection(name).config.params.vectors
        assert isinstance(vectors, models.VectorParams)
        return vectors.size

    def leftovers(self, name: str) -> list[str]:
        names = {found.name for found in self.client.get_collections().collections}
        return sorted(one for one in names - {self.served(name)} if one.rpartition("__")[0] == name)

    def spoil(self, name: str, what: Spoilt, row: int) -> None:
        (point,) = self.client.retrieve(name, [row], with_vectors=True)
        assert isinstance(point.vector, list)
        if what == "missing":
            self.client.delete(name, [row])
            return
        payload, vector = dict(point.payload or {}), [float(number) for number in point.vector]  # type: ignore[arg-type]
        if what == "vector":
            vector[0] += 1
        elif what == "column":
            payload["path"] += "x"
        else:
            row = payload["row"] = EXTRA
        self.client.upsert(name, [models.PointStruct(id=row, vector=vector, payload=payload)])

    def foreign_table(self, name: str, dim: int) -> None:
        shape = models.VectorParams(size=dim, distance=models.Distance.COSINE)
        self.client.create_collection(name, vectors_config=shape)
        self.client.upsert(name, [models.PointStruct(id=1, vector=[0.5] * dim, payload={"a": 1})])

    def foreign_table_is_whole(self, name: str) -> bool:
        return [point.payload for point in self.client.scroll(name)[0]] == [{"a": 1}]

    @contextmanager
    def failing(self, how: Failure) -> Iterator[None]:
        if how == "wrong password":
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(VARIABLE, "wrong")
                yield
            return
        with {"down": self._server.down, "slow": self._server.paused, "full": self._server.full}[how]():
            yield


@pytest.fixture(scope="module")
def closed() -> Iterator[Qdrant]:
    """A server that asks for a key."""
    with Qdrant(PASSWORD) as server:
        yield server


@pytest.fixture
def engine(closed: Qdrant, monkeypatch: pytest.MonkeyPatch) -> Collections:
    return Collections(closed, monkeypatch)


@pytest.mark.slow
class TestQdrant(TargetContract):
    """A collection a generation, and an alias."""

    modules = ("pixelmill.deliver.qdrant.target",)

    @pytest.fixture
    def engine(self, closed: Qdrant, monkeypatch: pytest.MonkeyPatch) -> Engine:
        return Collections(closed, monkeypatch)


@pytest.fixture
def photos(memory: Path) -> Photos:
    return Photos(memory / "store")


def test_the_page_says_how_to_search(engine: Collections, photos: Photos, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows that have the label, the nearest first."""
    label = next(row["label"] for row in expected(photos.folder, delivery_to(engine)).values() if row["label"])
    wanted = delivered_rows(engine, photos)
    (query,) = re.findall(r"```python\n(.*?)```", _section("Qdrant"), re.S)
    query = query.replace('url="http://host:6333"', f'url="{engine.url}", api_key="{PASSWORD}"').replace(
        '"dog"', f'"{label}"'
    )
    exec(query, {"vector": next(iter(wanted.values()))["vector"]})
    shown = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    fitting = [row for row in wanted.values() if row["label"] == label]
    asked = np.array(next(iter(wanted.values()))["vector"])
    assert shown == [row["path"] for row in sorted(fitting, key=lambda row: -float(np.dot(asked, row["vector"])))][:10]


def _section(name: str) -> str:
    page = (ROOT / "docs/deliveries.md").read_text()
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def delivered_rows(engine: Collections, photos: Photos) -> dict[int, dict[str, Any]]:
    """What readers see of the delivery `search`."""
    delivered(engine, photos, delivery_to(engine, name="search"))
    return engine.rows("search") or {}


def test_an_alias_of_others_is_refused_and_stays(engine: Collections, photos: Photos) -> None:
    """It leads to a collection that no delivery made."""
    engine.foreign_table("others", 3)
    made = models.CreateAlias(collection_name="others", alias_name="vectors")
    engine.client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])
    with pytest.raises(DeliveryRefused, match="an alias of that name"):
        deliver(photos.folder, delivery_to(engine))
    assert engine.served("vectors") == "others"
    assert engine.foreign_table_is_whole("others")


def test_what_somebody_set_of_a_collection_goes_on(engine: Collections, photos: Photos) -> None:
    """Indexes of payloads, settings of vectors, graph, quantization and optimizer, their own metadata and other aliases
    are those of a new generation as well."""
    delivered(engine, photos, delivery_to(engine))
    client, before = engine.client, engine.served("vectors")
    client.create_payload_index("vectors", "label", models.PayloadSchemaType.KEYWORD)
    client.update_collection(
        before, vectors_config={"": models.VectorParamsDiff(on_disk=True)}, hnsw_config=models.HnswConfigDiff(m=32),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5), metadata={"of": "people"},
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)),
    )  # fmt: skip
    made = models.CreateAlias(collection_name=before, alias_name="current")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])
    photos.remake("a")
    photos.finish()
    delivered(engine, photos, delivery_to(engine))
    assert engine.served("vectors") == engine.served("current") != before
    found = client.get_collection("vectors")
    assert list(found.payload_schema) == ["label"]
    assert isinstance(found.config.params.vectors, models.VectorParams)
    assert found.config.params.vectors.on_disk
    assert (found.config.hnsw_config.m, found.config.optimizer_config.indexing_threshold) == (32, 5)
    assert isinstance(found.config.quantization_config, models.ScalarQuantization)
    assert (found.config.metadata or {})["of"] == "people"


def test_indexes_that_a_kill_or_people_kept_from_a_new_generation_are_made_before_it_is_served(
    engine: Collections, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that ended before it made them, or an index that came meanwhile: readers miss none."""
    delivered(engine, photos, delivery_to(engine))
    engine.client.create_payload_index("vectors", "label", models.PayloadSchemaType.KEYWORD)
    photos.remake("a")
    photos.finish()
    create = QdrantClient.create_payload_index

    def lost(*_: object, **__: object) -> None:
        raise TargetUnavailable("killed")

    monkeypatch.setattr(QdrantClient, "create_payload_index", lost)
    with pytest.raises(TargetUnavailable, match="killed"):
        deliver(photos.folder, delivery_to(engine))
    monkeypatch.setattr(QdrantClient, "create_payload_index", create)
    engine.client.create_payload_index("vectors", "path", models.PayloadSchemaType.KEYWORD)
    delivered(engine, photos, delivery_to(engine))
    assert sorted(engine.client.get_collection("vectors").payload_schema) == ["label", "path"]


def test_points_that_are_no_rows_are_found_and_go(engine: Collections, photos: Photos) -> None:
    """Of ids beyond those of rows, or of UUIDs, which somebody has added."""
    delivered(engine, photos, delivery_to(engine))
    points = [models.PointStruct(id=key, vector=[1.0] * engine.dim("vectors")) for key in (2**64 - 1, str(UUID(int=7)))]
    engine.client.upsert("vectors", points)
    assert any("rows instead of" in told for told in check(photos.folder, delivery_to(engine)).differences)
    assert deliver(photos.folder, delivery_to(engine)).deleted == 1
    require_sound(photos, delivery_to(engine))
    assert engine.client.count("vectors").count == len(expected(photos.folder, delivery_to(engine)))


def test_values_of_another_kind_are_named(engine: Collections, photos: Photos) -> None:
    """Payloads have no kinds: whatever somebody has put there, a check says so, and all made anew is as it should be."""
    delivered(engine, photos, delivery_to(engine))
    row = min(expected(photos.folder, delivery_to(engine)))
    for field, value in {"path": 5, "label": [1], "taken_at": 2**64 - 1, "digest": 2**64 - 1}.items():
        engine.client.set_payload("vectors", {field: value}, points=[row])
    told = check(photos.folder, delivery_to(engine), full=True).differences
    assert {f"1 row with another {name}: {row}." for name in ("path", "label", "taken_at")} < set(told)
    assert f"1 row of another state: {row}." in told
    delivered(engine, photos, delivery_to(engine), full=True)


def test_a_copy_of_a_collection_is_none_of_a_delivery(engine: Collections, photos: Photos) -> None:
    """Somebody restored one under another name, with all that is known of it: it is not touched."""
    delivered(engine, photos, delivery_to(engine))
    known = engine.client.get_collection("vectors").config.metadata
    shape = models.VectorParams(size=3, distance=models.Distance.DOT)
    engine.client.create_collection("vectors__backup", vectors_config=shape, metadata=known)
    for _ in range(2):
        deliver(photos.folder, delivery_to(engine), full=True)
        require_sound(photos, delivery_to(engine))
    assert engine.client.collection_exists("vectors__backup")


def test_a_kill_before_the_old_one_is_dropped(
    engine: Collections, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers have the new one; the next delivery drops the old one."""
    delivered(engine, photos, delivery_to(engine))
    before = engine.served("vectors")

    def lost(*_: object, **__: object) -> None:
        raise TargetUnavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(QdrantClient, "delete_collection", lost)
        with pytest.raises(TargetUnavailable, match="killed"):
            deliver(photos.folder, delivery_to(engine), full=True)
    require_rows(engine, delivery_to(engine), expected(photos.folder, delivery_to(engine)))
    assert engine.leftovers("vectors") == [before]
    delivered(engine, photos, delivery_to(engine))


def test_what_somebody_has_deleted_is_made_anew(engine: Collections, photos: Photos) -> None:
    """With it its alias is gone."""
    told = delivered(engine, photos, delivery_to(engine))
    engine.client.delete_collection(engine.served("vectors"))
    assert delivered(engine, photos, delivery_to(engine)).sent == told.sent


@pytest.mark.slow
def test_a_large_block_comes_in_pieces_that_fit(
    engine: Collections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of vectors with 4,096 dimensions, and long captions beside short ones, no request comes near to 32 MB."""
    monkeypatch.setattr(base, "BLOCK", 1_024)
    store, sizes, send = large_store(tmp_path / "large", 500_000), list[int](), httpx.Client.send

    def measured(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        sizes.append(len(request.content))
        return send(client, request, **more)

    monkeypatch.setattr(httpx.Client, "send", measured)
    assert deliver(store, delivery_to(engine, columns=("caption",))).sent == LARGE
    assert max(sizes) < 12 << 20
    assert not check(store, delivery_to(engine, columns=("caption",)), full=True).differences

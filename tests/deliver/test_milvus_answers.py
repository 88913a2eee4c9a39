"""What Milvus may answer, and where it may be."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from pixelmill.deliver import base
from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.milvus.carried import indexes_of, settings_of
from pixelmill.deliver.milvus.server import _connection
from pixelmill.errors import DeliveryError, DeliveryRefused, TargetUnavailable
from tests.support.delivered import store_of_blocks
from tests.support.engines import Milvus

SECRET = "root:s3cret-of-milvus"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of_blocks(tmp_path / "store")


def of(to: str, name: str = "search") -> Delivery:
    return Delivery(name=name, to=to, models=("a",))


class Status(grpc.RpcError):
    """What gRPC raises."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (MilvusException(9, "quota exceeded[reason=disk]"), TargetUnavailable, "says: quota exceeded.reason=disk"),
        (
            MilvusException(8, "request is rejected"),
            TargetUnavailable,
            "says: request is rejected. What is there stays",
        ),
        (MilvusException(65535, "write: no space left on device"), TargetUnavailable, "no space left on device"),
        (MilvusException(2, f"lost {SECRET}"), TargetUnavailable, r"says: lost \*\*\*\."),
        (
            MilvusException(1401, "privilege not permitted"),
            DeliveryRefused,
            "and that it may write there. It does not take",
        ),
        (MilvusException(65535, "auth check failure"), DeliveryRefused, "set PIXELMILL_PASSWORD_SEARCH"),
        (MilvusException(100, "collection not found"), TargetUnavailable, "Something else has deleted it"),
        (
            MilvusException(1100, "cannot parse: unexpected token"),
            DeliveryRefused,
            "to take a delivery. It says: cannot",
        ),
        (Status(grpc.StatusCode.UNAUTHENTICATED), DeliveryRefused, "Expected the token of Milvus"),
        (Status(grpc.StatusCode.RESOURCE_EXHAUSTED), TargetUnavailable, "says: RESOURCE_EXHAUSTED"),
        (ConnectionResetError("reset"), TargetUnavailable, "says: reset"),
    ],
)
def test_whatever_is_answered_is_told_in_words(
    store: Path, milvus: Milvus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    raised: Exception, kind: type[DeliveryError], words: str,
) -> None:  # fmt: skip
    """By an error that says whether to try again, never with the token."""
    monkeypatch.setenv("PIXELMILL_PASSWORD_SEARCH", SECRET)
    monkeypatch.setattr(base, "SECONDS", 5.0)
    caplog.set_level(0)

    def upsert(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(MilvusClient, "list_collections", upsert)
    monkeypatch.setattr("pixelmill.deliver.milvus.server._AGAIN", 0.1)
    with pytest.raises(DeliveryError, match=words) as error:
        deliver(store, of(milvus.url))
    assert type(error.value) in (kind, *kind.__subclasses__())
    assert SECRET not in "".join(traceback.format_exception(error.value)) + str(error.value.delivered) + caplog.text


def test_its_client_prints_nothing(
    store: Path, milvus: Milvus, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails is told once, in words: not by a traceback of the client."""
    with pytest.raises(DeliveryRefused):
        deliver(store, of(f"{milvus.url}/no_database"))
    monkeypatch.setattr(base, "SECONDS", 1.0)
    with pytest.raises(TargetUnavailable):
        deliver(store, of("milvus://127.0.0.1:1"))
    assert "Traceback" not in "".join(capfd.readouterr())


def test_what_loads_long_is_waited_for_and_what_stops_is_told(
    store: Path, milvus: Milvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as more of a collection is loaded it goes on."""
    monkeypatch.setattr(base, "SECONDS", 1.0)
    progress = iter([*range(0, 80, 10), *[80] * 1000])

    def states(last: LoadState) -> Iterator[dict[str, Any]]:
        for percent in progress:
            if percent == 80 and last == LoadState.Loaded:
                break
            yield {"state": LoadState.Loading, "progress": percent}
        yield from iter(lambda: {"state": LoadState.Loaded}, None)

    for last in (LoadState.Loaded, LoadState.Loading):
        states_of = states(last)
        monkeypatch.setattr(MilvusClient, "get_load_state", lambda *_, told=states_of, **__: next(told))
        if last == LoadState.Loaded:
            assert deliver(store, of(milvus.url, "loads_long")).is_equal
        else:
            with pytest.raises(TargetUnavailable, match=r"to load loads_long__.* it has been at 80%"):
                deliver(store, of(milvus.url, "loads_long"))


@pytest.mark.parametrize(
    ("to", "uri", "token", "database"),
    [
        ("milvus://db", "http://db:19530", "s3cret", ""),
        ("milvus+https://db", "https://db:19530", "s3cret", ""),
        ("milvus+https://db:443/", "https://db:443", "s3cret", ""),
        ("milvus://app%40x@db:9/photos%20", "http://db:9", "app@x:s3cret", "photos "),
        ("milvus:/data/a b.db", "/data/a b.db", None, None),
    ],
)
def test_where_it_is(
    to: str, uri: str, token: str | None, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host, port, user and database, with TLS or without, or a file."""
    monkeypatch.setenv("PIXELMILL_PASSWORD_SEARCH", "s3cret")
    told = _connection(of(to))
    assert (told["uri"], told.get("token"), told.get("db_name")) == (uri, token, database)


@pytest.mark.parametrize(
    "to",
    [
        "milvus://db:x",
        "milvus://db?x=1",
        "milvus://[::1]:9",
        "milvus://db/a/b",
        "milvus:/data/x",
        "milvus:https://app:s3cret@db",
    ],
)
def test_what_is_no_address_is_refused(to: str) -> None:
    """What its client would take otherwise, or not at all."""
    with pytest.raises(
        DeliveryRefused, match=r"^Expected (a host behind milvus://|milvus://host|a file of Milvus Lite)"
    ):
        _connection(of(to))


class Served:
    """What Milvus, not Milvus Lite, tells of a collection and its indexes."""

    def asked(self, what: str, *given: str, **_: object) -> Any:
        return {
            "list_indexes": list(_INDEXES),
            "describe_index": _INDEXES.get(given[-1]),
            "describe_collection": _TOLD,
        }[what]


_STATE = {"total_rows": 5, "indexed_rows": 5, "pending_index_rows": 0, "state": "Finished", "min_index_version": "6"}
_INDEXES: dict[str, dict[str, Any]] = {
    "mine": {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": "16"}, "efConstruction": "9",
             "mmap.enabled": "true", "field_name": "vector", "index_name": "mine", **_STATE},
    "label": {"index_type": "INVERTED", "field_name": "label", "index_name": "label", **_STATE},
    "gone": {"index_type": "INVERTED", "field_name": "gone", "index_name": "gone", **_STATE},
}  # fmt: skip
_TOLD = {
    "num_shards": 2,
    "properties": {"pixelmill": "{}", "mmap.enabled": "true", "collection.insertRate.max.mb": "5", "timezone": "UTC",
                   "collection.on.truncating": "1"},
}  # fmt: skip


def test_indexes_and_settings_are_read_as_milvus_tells_them(caplog: pytest.LogCaptureFixture) -> None:
    """Parameters in one text or side by side; what is not delivered any more is told."""
    server: Any = Served()
    assert indexes_of(server, "search__1", ["row", "label", "vector"]) == [
        {"field_name": "vector", "index_name": "mine", "index_type": "HNSW", "metric_type": "COSINE",
         "params": {"M": "16", "efConstruction": "9", "mmap.enabled": "true"}},
        {"field_name": "label", "index_name": "label", "index_type": "INVERTED", "params": {}},
    ]  # fmt: skip
    assert "index=gone goes: gone is delivered no more" in caplog.text
    kept = {"mmap.enabled": "true", "collection.insertRate.max.mb": "5"}
    assert settings_of(server, "search__1") == {"properties": kept, "num_shards": 2}

"""What people have set of a collection in Milvus, for the one that takes its place."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Any, Final

from pixelmill.deliver.milvus.server import MilvusServer

log = logging.getLogger(__name__)
_OF_AN_INDEX: Final = {
    "field_name", "index_name", "index_type", "metric_type", "params", "total_rows", "indexed_rows",
    "pending_index_rows", "state", "index_state_fail_reason", "min_index_version", "max_index_version",
}  # fmt: skip
"""What Milvus tells of an index beside its parameters."""
_SETTINGS: Final = re.compile(
    r"mmap\.|warmup|collection\.(ttl|autocompaction|replica|resource_groups|\w+Rate|diskProtection)"
)
"""Properties of collections that are settings of people."""
USUAL: Final = {"field_name": "vector", "index_type": "AUTOINDEX", "metric_type": "IP"}


def settings_of(server: MilvusServer, served: str | None) -> dict[str, Any]:
    """Properties and shards that a collection is made with: those of the one that is served."""
    told = server.asked("describe_collection", served) if served else {}
    properties = {name: value for name, value in (told.get("properties") or {}).items() if _SETTINGS.match(name)}
    shards = told.get("num_shards", 1)
    return {"properties": properties, **({"num_shards": shards} if shards > 1 else {})}


def indexes_of(server: MilvusServer, served: str | None, fields: Collection[str]) -> list[dict[str, Any]]:
    """The indexes that a collection is made with: those of the one that is served, and one of vectors."""
    found = []
    for name in server.asked("list_indexes", served) if served else []:
        told = server.asked("describe_index", served, name)
        if told and told["field_name"] in fields:
            found.append(_index(told))
        elif told:
            log.warning("collection=%s index=%s goes: %s is delivered no more", served, name, told["field_name"])
    return found if any(index["field_name"] == "vector" for index in found) else [*found, dict(USUAL)]


def _index(told: dict[str, Any]) -> dict[str, Any]:
    own = {name: told[name] for name in ("field_name", "index_name", "index_type") if told.get(name)}
    if told["field_name"] == "vector":
        own["metric_type"] = told["metric_type"]
    inner = told.get("params")
    params = {name: value for name, value in told.items() if name not in _OF_AN_INDEX}
    return {**own, "params": {**(inner if isinstance(inner, dict) else {}), **params}}


def drop(server: MilvusServer, name: str, instead: str | None) -> None:
    """Drop a collection, if it is there; other aliases of it lead to the one that is there `instead`."""
    if not server.asked("has_collection", name):
        return
    for alias in server.asked("list_aliases", name)["aliases"]:
        if instead:
            server.asked("alter_alias", instead, alias)
        else:
            server.asked("drop_alias", alias)
    server.asked("drop_collection", name)

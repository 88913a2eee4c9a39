"""Qdrant's REST over Qdrant's own storage: what stands in for its server, which no package index has.

    python -m tests.support.qdrant_server FOLDER PORT [KEY]

Points are kept, filtered, scrolled and searched by `qdrant_edge`, which is the engine of a shard of Qdrant. A body is
read by the request models of `qdrant_client`, which refuse what its server would not know. Names, aliases and the limits
of a request are kept here, as the server's documentation has them. What is not here answers 501.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qdrant_edge as edge
import uvicorn
from pydantic import TypeAdapter, ValidationError
from qdrant_client.http import models
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.qdrant_collections import Collections, Refused
from tests.support.qdrant_filters import converted

MOST_BYTES = 32 << 20
"""Of a request: `max_request_size_mb` of the server's configuration."""
VERSION = "1.20.0"

_INSERT: TypeAdapter[models.PointsBatch | models.PointsList] = TypeAdapter(models.PointInsertOperations)
_SELECT: TypeAdapter[models.PointIdsList | models.FilterSelector] = TypeAdapter(models.PointsSelector)


class Api:
    """One method a request: what it answers under `result`."""

    def __init__(self, collections: Collections) -> None:
        self.of = collections

    def list_collections(self, _: bytes) -> Any:
        return {"collections": [{"name": name} for name in self.of.settings]}

    def exists(self, _: bytes, name: str) -> Any:
        return {"exists": name in self.of.settings or name in self.of.aliases}

    def create(self, body: bytes, name: str) -> Any:
        self.of.create(name, models.CreateCollection.model_validate_json(body))
        return True

    def delete(self, _: bytes, name: str) -> Any:
        return self.of.delete(name)

    def describe(self, _: bytes, name: str) -> Any:
        named = self.of.named(name)
        found, settings = self.of.shard(name).info(), self.of.settings[named]
        schema = {key: {"data_type": kind, "points": 0} for key, kind in settings.get("indexed", {}).items()}
        params = {key: settings[key] for key in models.CollectionParams.model_fields if key in settings}
        optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                     "flush_interval_sec": 5, "indexing_threshold": 10000,
                     **settings.get("optimizers_config", {})}  # fmt: skip
        hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, **settings.get("hnsw_config", {})}
        config: dict[str, Any] = {"params": params, "hnsw_config": hnsw, "optimizer_config": optimizer}
        counts = {key: getattr(found, key) for key in ("points_count", "segments_count", "indexed_vectors_count")}
        config |= {key: settings.get(key) for key in ("metadata", "quantization_config", "strict_mode_config")}
        return {"status": "green", "optimizer_status": "ok", **counts, "config": config, "payload_schema": schema}

    def update(self, body: bytes, name: str) -> Any:
        """Metadata are merged by key."""
        asked, settings = models.UpdateCollection.model_validate_json(body), self.of.settings[self.of.named(name)]
        said = asked.model_dump(exclude_none=True, mode="json")
        settings["metadata"] = {**settings.get("metadata", {}), **said.pop("metadata", {})}
        settings["vectors"] |= said.pop("vectors", {}).get("", {})
        settings.update(said)
        self.of.keep()
        return True

    def change_aliases(self, body: bytes) -> Any:
        self.of.change_aliases(models.ChangeAliasesOperation.model_validate_json(body).actions)
        return True

    def aliases(self, _: bytes, name: str = "") -> Any:
        named = self.of.named(name) if name else ""
        rows = [{"alias_name": a, "collection_name": c} for a, c in self.of.aliases.items() if named in ("", c)]
        return {"aliases": rows}

    def index(self, body: bytes, name: str) -> Any:
        asked = models.CreateFieldIndex.model_validate_json(body)
        kind = getattr(asked.field_schema, "type", asked.field_schema)
        kind = str(getattr(kind, "value", kind))
        self.of.settings[self.of.named(name)].setdefault("indexed", {})[asked.field_name] = kind
        self.of.keep()
        schema = getattr(edge.PayloadSchemaType, kind.capitalize())
        return self._changed(name, edge.UpdateOperation.create_field_index(asked.field_name, schema))

    def upsert(self, body: bytes, name: str) -> Any:
        asked = _INSERT.validate_json(body)
        if isinstance(asked, models.PointsBatch):
            payloads: Any = asked.batch.payloads or [None] * len(asked.batch.ids)
            rows = list(zip(asked.batch.ids, asked.batch.vectors, payloads, strict=True))
        else:
            rows = [(point.id, point.vector, point.payload) for point in asked.points]  # type: ignore[misc]
        points = [edge.Point(key, vector, payload) for key, vector, payload in rows]  # type: ignore[arg-type]
        return self._changed(name, edge.UpdateOperation.upsert_points(points))

    def delete_points(self, body: bytes, name: str) -> Any:
        asked = _SELECT.validate_json(body)
        if isinstance(asked, models.PointIdsList):
            return self._changed(name, edge.UpdateOperation.delete_points(asked.points))
        return self._changed(name, edge.UpdateOperation.delete_points_by_filter(converted(asked.filter)))

    def set_payload(self, body: bytes, name: str) -> Any:
        asked = models.SetPayload.model_validate_json(body)
        return self._changed(name, edge.UpdateOperation.set_payload(asked.points or [], asked.payload, asked.key))

    def overwrite_payload(self, body: bytes, name: str) -> Any:
        asked = models.SetPayload.model_validate_json(body)
        return self._changed(name, edge.UpdateOperation.overwrite_payload(asked.points or [], asked.payload))

    def delete_payload(self, body: bytes, name: str) -> Any:
        asked = models.DeletePayload.model_validate_json(body)
        return self._changed(name, edge.UpdateOperation.delete_payload(asked.points or [], asked.keys))

    def _changed(self, name: str, operation: edge.UpdateOperation) -> Any:
        if self.of.full():
            raise Refused(
                500, "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
            )
        self.of.shard(name).update(operation)
        return {"operation_id": 0, "status": "completed"}

    def scroll(self, body: bytes, name: str) -> Any:
        asked = models.ScrollRequest.model_validate_json(body)
        request = edge.ScrollRequest(
            asked.offset, asked.limit or 10, _filter(asked.filter), _payload(asked.with_payload, True), _vector(asked)
        )
        rows, after = self.of.shard(name).scroll(request)
        return {"points": [_record(row) for row in rows], "next_page_offset": None if after is None else _key(after)}

    def retrieve(self, body: bytes, name: str) -> Any:
        asked = models.PointRequest.model_validate_json(body)
        wanted = _payload(asked.with_payload, True)
        return [_record(row) for row in self.of.shard(name).retrieve(asked.ids, wanted, _vector(asked))]

    def count(self, body: bytes, name: str) -> Any:
        asked = models.CountRequest.model_validate_json(body)
        return {"count": self.of.shard(name).count(edge.CountRequest(asked.exact is not False, _filter(asked.filter)))}

    def query(self, body: bytes, name: str) -> Any:
        asked = models.QueryRequest.model_validate_json(body)
        query = getattr(asked.query, "nearest", asked.query)
        if not isinstance(query, list):
            raise Refused(501, "Expected the query as one vector.")
        request = edge.QueryRequest(
            asked.limit or 10, asked.offset, edge.Query.Nearest(query), filter=_filter(asked.filter),
            with_vector=_vector(asked), with_payload=_payload(asked.with_payload, False),
        )  # fmt: skip
        rows = self.of.shard(name).query(request)
        return {"points": [{**_record(row), "version": row.version, "score": row.score} for row in rows]}


def _filter(asked: models.Filter | None) -> edge.Filter | None:
    return None if asked is None else converted(asked)


def _vector(asked: Any) -> bool:
    return bool(asked.with_vector)


def _payload(asked: Any, otherwise: bool) -> Any:
    if isinstance(asked, models.PayloadSelectorExclude):
        return edge.PayloadSelector.Exclude(asked.exclude)
    return otherwise if asked is None else getattr(asked, "include", asked)


def _key(given: Any) -> int | str:
    return given if isinstance(given, int) else str(given)


def _record(row: Any) -> dict[str, Any]:
    return {"id": _key(row.id), "payload": row.payload, "vector": row.vector}


def _routes(api: Api) -> list[tuple[str, str, Callable[..., Any]]]:
    one = "/collections/{name}"
    return [
        ("GET", "/collections", api.list_collections), ("GET", f"{one}/exists", api.exists), ("PUT", one, api.create),
        ("DELETE", one, api.delete), ("GET", one, api.describe), ("PATCH", one, api.update),
        ("POST", "/collections/aliases", api.change_aliases), ("GET", "/aliases", api.aliases),
        ("GET", f"{one}/aliases", api.aliases), ("PUT", f"{one}/index", api.index),
        ("PUT", f"{one}/points", api.upsert), ("POST", f"{one}/points/delete", api.delete_points),
        ("POST", f"{one}/points/payload", api.set_payload), ("PUT", f"{one}/points/payload", api.overwrite_payload),
        ("POST", f"{one}/points/payload/delete", api.delete_payload), ("POST", f"{one}/points/scroll", api.scroll),
        ("POST", f"{one}/points", api.retrieve), ("POST", f"{one}/points/count", api.count),
        ("POST", f"{one}/points/query", api.query),
    ]  # fmt: skip


def application(folder: Path, key: str = "") -> Starlette:
    def serving(answer: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(request: Request) -> Response:
            if key and request.headers.get("api-key") != key:
                return Response("Invalid API key or JWT", 401)
            body = await request.body()
            try:
                if len(body) > MOST_BYTES:
                    raise Refused(413, f"JSON payload ({len(body)} bytes) is larger than allowed (limit: {MOST_BYTES})")
                result = answer(body, **request.path_params)
            except (Refused, ValidationError, Exception) as error:
                status = error.status if isinstance(error, Refused) else 400
                return JSONResponse({"status": {"error": str(error)}, "time": 0.0}, status)
            return JSONResponse({"result": result, "status": "ok", "time": 0.0})

        return serve

    async def ready(_: Request) -> Response:
        return JSONResponse({"title": "qdrant - vector search engine", "version": VERSION})

    api = Api(Collections(folder))
    routes = [Route(path, serving(answer), methods=[method]) for method, path, answer in _routes(api)]
    return Starlette(routes=[Route("/", ready), Route("/readyz", ready), *routes])


if __name__ == "__main__":
    served = application(Path(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else "")
    uvicorn.run(served, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")

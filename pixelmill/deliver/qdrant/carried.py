"""What people have set of a collection in Qdrant, for the one that takes its place."""

from __future__ import annotations

from typing import Any

from qdrant_client import QdrantClient, models


def settings_of(before: models.CollectionInfo | None, dim: int) -> dict[str, Any]:
    """What a collection is made with: as the one before, but for the dimensions of its vectors."""
    vectors = models.VectorParams(size=dim, distance=models.Distance.DOT)
    if before is None:
        return {"vectors_config": vectors}
    config, params = before.config, before.config.params
    if isinstance(params.vectors, models.VectorParams):
        vectors = params.vectors.model_copy(update={"size": dim, "distance": models.Distance.DOT})
    return {
        "vectors_config": vectors,
        "hnsw_config": _as(models.HnswConfigDiff, config.hnsw_config),
        "optimizers_config": _as(models.OptimizersConfigDiff, config.optimizer_config),
        "wal_config": _as(models.WalConfigDiff, config.wal_config),
        "strict_mode_config": _as(models.StrictModeConfig, config.strict_mode_config),
        "quantization_config": config.quantization_config, "metadata": config.metadata or {},
        "payload": params.payload, "id_tracker": params.id_tracker,
        **{name: getattr(params, name) for name in
           ("shard_number", "replication_factor", "on_disk_payload", "write_consistency_factor")},
    }  # fmt: skip


def _as(kind: Any, told: Any) -> Any:
    return None if told is None else kind(**told.model_dump(exclude_none=True))


def carry_indexes(client: QdrantClient, before: models.CollectionInfo | None, name: str) -> None:
    """Give a collection the indexes of payloads that the one before has, as far as it has none of its own."""
    wanted = before.payload_schema if before else {}
    there = client.get_collection(name).payload_schema if wanted else {}
    for field, index in wanted.items():
        if field not in there:
            client.create_payload_index(name, field, index.params or index.data_type, wait=True)


def switched(aliases: dict[str, str], alias: str, name: str) -> list[models.AliasOperations]:
    """What lets `alias` lead to the collection `name`, and with it all that led to the one that it led to: at once."""
    before = aliases.get(alias)
    moved = {alias, *(other for other, to in aliases.items() if to == before)}
    taken: list[models.AliasOperations] = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=other))
        for other in moved & aliases.keys()
    ]
    given = [models.CreateAlias(collection_name=name, alias_name=other) for other in sorted(moved)]
    return [*taken, *(models.CreateAliasOperation(create_alias=made) for made in given)]

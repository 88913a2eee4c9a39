"""Opens the target of a delivery, with what its kind needs to be installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pixelmill.deliver.address import kind_of, shown_target
from pixelmill.deliver.base import Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import PixelmillError


def open_target(delivery: Delivery) -> Target:
    """The target of a delivery, open. Raises what targets raise, and PixelmillError where a package is missing."""
    kind = kind_of(delivery.to)
    try:
        return _OPENERS[kind](delivery)
    except ImportError as error:
        raise PixelmillError(
            f"Expected {error.name or error} for {shown_target(delivery.to)}. It is not installed: "
            f"`pip install 'pixelmill[{kind}]'`."
        ) from error


def _lancedb(delivery: Delivery) -> Target:
    from pixelmill.deliver.lancedb.target import LanceTarget

    return LanceTarget(delivery)


def _parquet(delivery: Delivery) -> Target:
    from pixelmill.deliver.parquet import ParquetTarget

    return ParquetTarget(delivery)


def _milvus(delivery: Delivery) -> Target:
    from pixelmill.deliver.milvus.target import MilvusTarget

    return MilvusTarget(delivery)


def _postgresql(delivery: Delivery) -> Target:
    from pixelmill.deliver.postgresql.target import PostgresqlTarget

    return PostgresqlTarget(delivery)


def _qdrant(delivery: Delivery) -> Target:
    from pixelmill.deliver.qdrant.target import QdrantTarget

    return QdrantTarget(delivery)


def _chroma(delivery: Delivery) -> Target:
    from pixelmill.deliver.chroma.target import ChromaTarget

    return ChromaTarget(delivery)


_OPENERS: Final[dict[str, Callable[[Delivery], Target]]] = {
    "chroma": _chroma, "lancedb": _lancedb, "milvus": _milvus, "parquet": _parquet, "postgresql": _postgresql,
    "qdrant": _qdrant,
}  # fmt: skip
"""By the kind; each imports the packages of that kind alone."""

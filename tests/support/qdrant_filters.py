"""A filter as Qdrant's clients write it, for the engine of its shards: ids, equal, one of, ranges, empty, null."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models


def converted(asked: models.Filter) -> edge.Filter:
    """Raises NotImplementedError for conditions beyond those."""
    must, should, must_not = (_conditions(given) for given in (asked.must, asked.should, asked.must_not))
    if asked.min_should is not None:
        raise NotImplementedError("min_should")
    return edge.Filter(must=must, should=should, must_not=must_not)


def _conditions(given: Any) -> list[Any] | None:
    if given is None:
        return None
    return [_condition(one) for one in (given if isinstance(given, list) else [given])]


def _condition(given: Any) -> Any:
    match given:
        case models.Filter():
            return converted(given)
        case models.HasIdCondition():
            return edge.HasIdCondition(set(given.has_id))
        case models.IsEmptyCondition():
            return edge.IsEmptyCondition(given.is_empty.key)
        case models.IsNullCondition():
            return edge.IsNullCondition(given.is_null.key)
        case models.FieldCondition(match=models.MatchValue(value=value)):
            return edge.FieldCondition(given.key, match=edge.MatchValue(value))
        case models.FieldCondition(match=models.MatchAny(any=values)):
            return edge.FieldCondition(given.key, match=edge.MatchAny(values))
        case models.FieldCondition(match=None, range=models.Range() as span):
            return edge.FieldCondition(given.key, range=edge.RangeFloat(span.gte, span.gt, span.lte, span.lt))
    raise NotImplementedError(f"{type(given).__name__}: {given}")

"""What is compared: models of the store, ensembles that it keeps, and models put side by side for the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pixelmill.errors import QueryError
from pixelmill.store.reader import Store

_TOGETHER = 4
"""Models that are put side by side unasked, at most."""


@dataclass(frozen=True)
class Candidate:
    """Models of the store with their weights. `is_searched`: the weights are to be found by fold instead."""

    name: str
    models: tuple[str, ...]
    weights: tuple[float, ...]
    is_searched: bool = False


def candidates_of(store: Store, names: Sequence[str]) -> list[Candidate]:
    """Those of `names`, each a model, a kept ensemble, or `A+B`: these side by side, once with equal weights and once
    with weights that are searched. Without names: all models, all kept ensembles, and up to four models together.

    Raises UnknownModel, and QueryError where there is nothing to compare, or a model stands twice in one.
    """
    asked = list(dict.fromkeys(names or _all(store)))
    if not asked:
        raise QueryError(f"Expected vectors in {store.folder}. Found none: `pixelmill run` makes them.")
    return [candidate for name in asked for candidate in _candidates(store, name)]


def models_of(candidates: Sequence[Candidate]) -> list[str]:
    """The models that are needed, in the order in which they come."""
    return list(dict.fromkeys(model for candidate in candidates for model in candidate.models))


def _all(store: Store) -> list[str]:
    models = store.models
    together = ["+".join(models)] if 2 <= len(models) <= _TOGETHER else []
    return [*models, *store.ensembles, *together]


def _candidates(store: Store, name: str) -> Iterator[Candidate]:
    if name in (*store.models, *store.ensembles) or "+" not in name:
        kept = store.concatenated([name], normalize=True)
        yield Candidate(name, tuple(m.provenance.model for m in kept.members), tuple(kept.weights))
        return
    models = tuple(part.strip() for part in name.split("+"))
    if len(set(models)) < len(models):
        raise QueryError(f"Expected each model once in an ensemble. Got {name!r}.")
    for model in models:
        _ = store[model]
    equal = (1.0,) * len(models)
    yield Candidate("+".join(models), models, equal)
    yield Candidate(f"{'+'.join(models)} (searched)", models, equal, is_searched=True)

"""Models of a store compared on its own pictures, from labels to what is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pixelmill.choices import PROMPTS
from pixelmill.errors import QueryError
from pixelmill.evaluation.agreement import linear_cka
from pixelmill.evaluation.candidates import Candidate, candidates_of, models_of
from pixelmill.evaluation.cost import cost_of
from pixelmill.evaluation.folds import FOLDS, SEED, fold_of
from pixelmill.evaluation.intervals import best_of, measured
from pixelmill.evaluation.labels import Labels, labels_of
from pixelmill.evaluation.measures import MEASURES, Asked, by_picture
from pixelmill.evaluation.pictures import Chosen, choose
from pixelmill.evaluation.probe import Probe, probe_for
from pixelmill.evaluation.prompted import Texts, TextVectors
from pixelmill.evaluation.told import Agreement, Evaluation, Measured, Scores
from pixelmill.evaluation.vectors import unit_vectors
from pixelmill.evaluation.weights import Weights, side_by_side, typical, weights_by_fold
from pixelmill.evaluation.zero_shot import zero_shot
from pixelmill.heads.logistic import require_sklearn
from pixelmill.search.prompts import check_prompts
from pixelmill.search.where import rows_where
from pixelmill.store.reader import Store

MOST: Final = 20_000
"""Pictures that are compared unless more are asked for: comparing each with each takes minutes."""
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Asking:
    """What to compare by. `prompts` have {} where a label goes; `most` pictures; `where` is a condition in SQL."""

    labels: str
    models: tuple[str, ...] = ()
    where: str | None = None
    most: int = MOST
    prompts: tuple[str, ...] = PROMPTS


def evaluate(
    store: Store, asking: Asking, *, texts: Texts | None = None, speeds: Mapping[str, float] = {},
    tell: Callable[[str], None] = lambda _words: None,
) -> Evaluation:  # fmt: skip
    """Compare models, by k nearest neighbours, a linear probe, retrieval, and zero-shot where there are `texts`.

    `speeds` are images a second by model; `tell` hears which candidate is at work. The same store and question give the
    same answer. Raises UnknownColumn, UnknownModel, QueryError for labels that tell nothing apart, and PixelmillError
    where scikit-learn is not installed.
    """
    require_sklearn("to compare models")
    check_prompts(asking.prompts)
    if asking.most < 2:
        raise QueryError(f"Expected two pictures or more to compare models on. Got {asking.most}.")
    candidates = candidates_of(store, asking.models)
    labels = labels_of(store, asking.labels)
    allowed = rows_where(store, asking.where) if asking.where else None
    chosen = choose(store, labels, models_of(candidates), most=asking.most, allowed=allowed)
    prompted = TextVectors(store, chosen.classes, asking.prompts, texts, are_words=labels.are_words)
    told = _Comparison(store, candidates, chosen, prompted).told(labels, speeds, tell)
    return told.model_copy(update={"where": asking.where})


class _Comparison:
    """Candidates on the same pictures, the same folds."""

    def __init__(self, store: Store, candidates: Sequence[Candidate], chosen: Chosen, prompted: TextVectors) -> None:
        self._store, self._candidates, self._chosen, self._prompted = store, candidates, chosen, prompted
        self._members = {model: unit_vectors(store, model, chosen.rows) for model in models_of(candidates)}
        self._asked = Asked(chosen.labels, fold_of(chosen.labels), chosen.has_another)
        widest = max(sum(self._members[m].shape[1] for m in c.models) for c in candidates)
        self._probe: Probe = probe_for(len(chosen.rows), widest, len(chosen.classes))
        self._values: dict[str, dict[str, NDArray[np.float64]]] = {}
        self._notes: list[str] = []

    def told(self, labels: Labels, speeds: Mapping[str, float], tell: Callable[[str], None]) -> Evaluation:
        scores = []
        for number, candidate in enumerate(self._candidates, 1):
            tell(f"{number} of {len(self._candidates)}: {candidate.name}")
            scores.append(self._scores(candidate, speeds))
        return Evaluation(
            store=str(self._store.folder), labels=labels.name, pictures=self._chosen.told, folds=FOLDS, seed=SEED,
            probe=self._probe.words, scores=tuple(scores), best=self._best(), agreement=self._agreement(),
            notes=(*self._notes, *self._prompted.notes),
        )  # fmt: skip

    def _scores(self, candidate: Candidate, speeds: Mapping[str, float]) -> Scores:
        by_fold = self._weights(candidate)
        values = self._measure(candidate, by_fold)
        self._values[candidate.name] = values
        weights = typical(by_fold) if candidate.is_searched else candidate.weights
        return Scores(
            name=candidate.name, models=candidate.models, weights=weights, is_searched=candidate.is_searched,
            weights_by_fold=tuple(by_fold) if candidate.is_searched else (),
            measures=_measured(values), cost=cost_of(self._store, candidate, speeds),
        )  # fmt: skip

    def _weights(self, candidate: Candidate) -> list[Weights]:
        """Those of each fold."""
        if not candidate.is_searched:
            return [candidate.weights] * FOLDS
        return weights_by_fold(self._parts(candidate), self._asked.labels, self._asked.folds)

    def _measure(self, candidate: Candidate, by_fold: Sequence[Weights]) -> dict[str, NDArray[np.float64]]:
        parts, made = self._parts(candidate), dict[Weights, Float32]()

        def vectors_at(fold: int) -> Float32:
            weights = by_fold[fold]
            if weights not in made:
                made.clear()  # one at a time in memory
                made[weights] = side_by_side(parts, weights)
            return made[weights]

        values, settled = by_picture(self._asked, self._probe, vectors_at)
        if not settled:
            self._notes.append(f"The probe of {candidate.name} was ended before it had settled.")
        words = self._prompted.of(candidate.models)
        if words:
            values["zero_shot"] = self._zero_shot(words, by_fold, vectors_at)
        return values

    def _zero_shot(
        self, words: Sequence[Float32], by_fold: Sequence[Weights], vectors_at: Callable[[int], Float32]
    ) -> NDArray[np.float64]:
        """Of all pictures: nothing is learnt of them but, perhaps, weights."""
        right = np.empty(len(self._asked.labels))
        for fold, weights in enumerate(by_fold):
            here = self._asked.folds == fold
            found = zero_shot(vectors_at(fold)[here], side_by_side(words, weights))
            right[here] = found == self._asked.labels[here]
        return right

    def _parts(self, candidate: Candidate) -> list[Float32]:
        return [self._members[model] for model in candidate.models]

    def _best(self) -> dict[str, tuple[str, ...]]:
        by_measure = {m: {n: v[m] for n, v in self._values.items() if m in v} for m in MEASURES}
        return {measure: best_of(values) for measure, values in by_measure.items() if values}

    def _agreement(self) -> tuple[Agreement, ...]:
        return tuple(
            Agreement(models=(a, b), cka=round(linear_cka(self._members[a], self._members[b]), 4))
            for a, b in combinations(self._members, 2)
        )


def _measured(values: Mapping[str, NDArray[np.float64]]) -> dict[str, Measured]:
    """By measure; what was taken of the same pictures is drawn together."""
    found: dict[str, Measured] = {}
    for pictures in {len(of) for of in values.values()}:
        names = [name for name, of in values.items() if len(of) == pictures]
        found |= dict(zip(names, measured(np.stack([values[name] for name in names], axis=1)), strict=True))
    return {name: found[name] for name in MEASURES if name in found}

"""What each candidate costs: time an image, as runs measured it, and room of its vectors."""

from __future__ import annotations

from collections.abc import Mapping

from pixelmill.evaluation.candidates import Candidate
from pixelmill.evaluation.told import Cost
from pixelmill.store.reader import Store


def cost_of(store: Store, candidate: Candidate, speeds: Mapping[str, float]) -> Cost:
    """Of models side by side the sums, one after the other. `speeds` are images a second, of models that have one."""
    views = [store[model] for model in candidate.models]
    gigabytes = sum(view.shape[1] * view.dtype.itemsize for view in views) * 1e6 / 1e9
    known = all(speeds.get(model) for model in candidate.models)
    seconds = sum(1 / speeds[model] for model in candidate.models) if known else 0.0
    return Cost(
        dim=sum(view.shape[1] for view in views), gb_per_million=round(gigabytes, 3),
        images_per_second=round(1 / seconds, 2) if known else None,
        ms_per_image=round(1000 * seconds, 3) if known else None,
    )  # fmt: skip

"""In which precision models compute, and how that was found, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pixelmill.embedding.precision import PrecisionFound, Tried
from pixelmill.formatting import number_of
from pixelmill.report.model import ModelReport


def in_words(models: Mapping[str, ModelReport]) -> str:
    """What was measured in a run, model by model; of those that embedded without, that nothing was."""
    return " ".join(_sentences(models))


def _sentences(models: Mapping[str, ModelReport]) -> Iterator[str]:
    for name, model in models.items():
        if found := model.precision_measured:
            yield f"Precision of {name}, measured in this run: {_found(found)}."
    kept = [name for name, model in models.items() if model.embedded and model.precision_origin == "kept"]
    if kept:
        which = "" if len(kept) == len(models) else f" of {', '.join(kept)}"
        yield f"Precision{which}: that of the stored vectors, nothing was measured in this run."


def _found(found: PrecisionFound) -> str:
    if not found.pictures:
        return f"{found.precision}, as no picture could be read to measure with"
    first = sorted(found.tried, key=lambda one: one.precision != found.precision)
    lower = "; ".join(map(_tried, first))
    chosen = "" if found.precision != "float32" else "float32; "
    return f"{chosen}{lower}; over {number_of(found.pictures, 'picture')} in batches of {found.batch_size:,}"


def _tried(one: Tried) -> str:
    if one.speed is None:
        return f"{one.precision} keeps a cosine of {one.least_cosine:.5f} only"
    return f"{one.precision}: {one.speed:.1f} times float32's pace, cosine at least {one.least_cosine:.5f}"

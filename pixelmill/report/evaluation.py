"""What there is to say of models that were compared on a store's own pictures: a headline, tables, lines in words."""

from __future__ import annotations

from collections.abc import Iterator

from pixelmill.evaluation.measures import MEASURES
from pixelmill.evaluation.told import Evaluation, Measured, Scores
from pixelmill.formatting import number_of
from pixelmill.report.section import Row, Section

_COSTS = ("dim", "images/s", "ms", "GB/million")


def headline(told: Evaluation) -> str:
    """How many pictures were asked about, of how many classes, and how."""
    seen = told.pictures
    return (
        f"{number_of(seen.compared, 'picture')} of {number_of(seen.classes, 'class', 'classes')} by {told.labels}, "
        f"{told.folds} folds; probe: {told.probe}."
    )


def taken(told: Evaluation) -> dict[str, str]:
    """The measures that could be taken, with what a table heads them."""
    return {name: head for name, head in MEASURES.items() if any(name in one.measures for one in told.scores)}


def scores(told: Evaluation) -> Section:
    """A row for each model, or models side by side."""
    rows: list[Row] = [
        (one.name, *(_measured(one.measures.get(name)) for name in taken(told)), *_cost(one)) for one in told.scores
    ]
    return Section("Scores", ("model", *taken(told).values(), *_COSTS), rows, words=("model",))


def agreement(told: Evaluation) -> Section:
    """A row and a column for each model: how alike the vectors of two are."""
    known = {pair.models: pair.cka for pair in told.agreement}
    models = tuple(dict.fromkeys(model for pair in known for model in pair))
    both = known | {(other, one): cka for (one, other), cka in known.items()} | {(one, one): 1.0 for one in models}
    rows: list[Row] = [(one, *(f"{both[one, other]:.3f}" for other in models)) for one in models]
    return Section("Agreement", ("model", *models), rows, words=("model",), note="Linear CKA: 1, they see the same.")


def verdicts(told: Evaluation) -> Iterator[str]:
    """Which is best, by each measure, and the weights that were found."""
    for measure, names in told.best.items():
        alike = f"; not told apart from it: {', '.join(names[1:])}" if names[1:] else ""
        yield f"Best by {MEASURES[measure]}: {names[0]}{alike}."
    for one in told.scores:
        if one.is_searched:
            yield f"Weights found for {one.name}: {','.join(f'{weight:g}' for weight in one.weights)}."


def left_out(told: Evaluation) -> Iterator[str]:
    """Which rows were not compared, and why; what else there is to know."""
    seen = told.pictures
    reasons = {
        "do not fulfil the condition": seen.not_asked, "have no file any more": seen.without_file,
        "have no label": seen.without_label,
        **{f"have no vector of {model}": rows for model, rows in seen.without_vector.items()},
    }  # fmt: skip
    for reason, rows in reasons.items():
        if rows:
            yield f"{rows:,} of {seen.rows:,} rows {reason}."
    if seen.compared < seen.usable:
        yield f"Compared on {seen.compared:,} of {seen.usable:,} pictures; --most says how many."
    if seen.single_classes:
        named = ", ".join(seen.singles) + (", …" if len(seen.singles) < seen.single_classes else "")
        classes = number_of(seen.single_classes, "class has", "classes have")
        yield f"{classes} one picture, which is not asked about but by zero-shot: {named}."
    yield from told.notes


def _measured(one: Measured | None) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" if one else ""


def _cost(one: Scores) -> tuple[str, str, str, str]:
    cost = one.cost
    speed = "" if cost.images_per_second is None else f"{cost.images_per_second:,.1f}"
    time = "" if cost.ms_per_image is None else f"{cost.ms_per_image:,.1f}"
    return f"{cost.dim:,}", speed, time, f"{cost.gb_per_million:g}"

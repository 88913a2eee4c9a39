"""Plots of models that were compared: each measure with its intervals, and how good beside how quick."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from pixelmill.evaluation.told import Evaluation, Measured, Scores
from pixelmill.formatting import printable
from pixelmill.report.draw import EMPTY, FADED, GOOD, INK, LINE, QUIET, SMALL, WIDTH, as_webp, cut, font, paper
from pixelmill.report.evaluation import taken
from pixelmill.report.sheet import Figure

if TYPE_CHECKING:
    from PIL import ImageDraw

_NAMES, _NUMBER = 230, 46
"""Pixels for a name on the left, and for a number on the right."""
_ROW, _TALL = 24, 260
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_QUALITY: Final = ("neighbours_5", "neighbour_1", "mean_average_precision", "probe", "zero_shot")
"""What stands for how good a model is, beside its pace: the first of these that was measured."""


def plots(told: Evaluation) -> Iterator[Figure]:
    """A figure for each measure that was taken, and one of pace where runs have measured two models' or more."""
    for name, head in taken(told).items():
        yield _intervals(told, name, head)
    measure = next((name for name in _QUALITY if name in taken(told)), None)
    quick = [one for one in told.scores if one.cost.images_per_second]
    if measure and len(quick) > 1:
        yield _pace(quick, measure, taken(told)[measure])


def _intervals(told: Evaluation, name: str, head: str) -> Figure:
    """A line a model: its 95% interval, and in it the mean; blue is the best, and what is not told apart from it."""
    measured = {one.name: one.measures[name] for one in told.scores if name in one.measures}
    canvas, draw = paper(len(measured) * _ROW + LINE + 6)
    bottom = len(measured) * _ROW
    for tick in _TICKS:
        x = _across(tick)
        draw.line((x, 0, x, bottom), EMPTY)
        draw.text((x, bottom + 3), f"{tick:g}", QUIET, font(SMALL), anchor="mt")
    for number, (model, one) in enumerate(measured.items()):
        y, colour = number * _ROW + _ROW // 2, GOOD if model in told.best.get(name, ()) else QUIET
        draw.text((0, y), cut(printable(model), _NAMES - 10, SMALL + 1), INK, font(SMALL + 1), anchor="lm")
        _dot(draw, _across(one.value), y, colour, (_across(one.low), y, _across(one.high), y))
        draw.text((WIDTH - 2, y), f"{one.value:.3f}", INK, font(SMALL), anchor="rm")
    return Figure(head, f"{head}. {_in_words(measured)}", as_webp(canvas))


def _pace(quick: list[Scores], measure: str, head: str) -> Figure:
    """How good a model is, upwards, over the images a second that it embeds, to the right and by their logarithm."""
    paces = {one.name: math.log10(one.cost.images_per_second or 1) for one in quick}
    first, last = math.floor(min(paces.values())), math.ceil(max(paces.values()))
    last += first == last
    canvas, draw = paper(_TALL + LINE + 6)
    for tick in _TICKS:
        y = _up(tick)
        draw.line((30, y, WIDTH, y), EMPTY)
        draw.text((24, y), f"{tick:g}", QUIET, font(SMALL), anchor="rm")
    for power in range(first, last + 1):
        x = _right(power, first, last)
        draw.line((x, 0, x, _TALL), EMPTY)
        draw.text((x, _TALL + 3), f"{10.0**power:,g}", QUIET, font(SMALL), anchor="mt")
    taken_up: list[tuple[float, float, float]] = []
    for one in quick:
        if measure in one.measures:
            shown, x = one.measures[measure], _right(paces[one.name], first, last)
            _dot(draw, x, _up(shown.value), GOOD, (x, _up(shown.low), x, _up(shown.high)))
            _name(draw, one.name, x, _up(shown.value), taken_up)
    told = "; ".join(f"{one.name}: {one.cost.images_per_second:,.1f}" for one in quick)
    return Figure(f"{head} beside images/s", f"{head}, upwards, over images a second. {told}", as_webp(canvas))


def _name(draw: ImageDraw.ImageDraw, name: str, x: float, y: float, taken_up: list[tuple[float, float, float]]) -> None:
    """A name beside its dot, on the side that has more room, below those that stand there already."""
    words = cut(printable(name), WIDTH // 2 - 20)
    long = font(SMALL).getlength(words)
    left = x - 8 - long if x > WIDTH / 2 else x + 8
    while any(abs(y - other) < LINE and left < end and start < left + long for other, start, end in taken_up):
        y += LINE
    taken_up.append((y, left, left + long))
    draw.text((left, y), words, INK, font(SMALL), anchor="lm")


def _dot(
    draw: ImageDraw.ImageDraw, x: float, y: float, colour: str, interval: tuple[float, float, float, float]
) -> None:
    """A mean, and the interval around it."""
    draw.line(interval, FADED if colour == GOOD else EMPTY, 7)
    draw.line(interval, colour, 2)
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)


def _across(value: float) -> float:
    return _NAMES + value * (WIDTH - _NAMES - _NUMBER)


def _up(value: float) -> float:
    return 6 + (1 - value) * (_TALL - 12)


def _right(power: float, first: int, last: int) -> float:
    return 50 + (power - first) / (last - first) * (WIDTH - 100)


def _in_words(measured: Mapping[str, Measured]) -> str:
    return "; ".join(f"{name}: {one.value:.3f}, {one.low:.3f} to {one.high:.3f}" for name, one in measured.items())

"""The last nights as a plot: vectors made, images a second, images in quarantine; a bar a run, the oldest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pixelmill.formatting import moment
from pixelmill.report.draw import BAD, EMPTY, FADED, GAP, GOOD, INK, LINE, QUIET, SMALL, WIDTH, as_webp, font, paper
from pixelmill.report.history import night
from pixelmill.report.model import Night, RunReport
from pixelmill.report.sheet import Figure

if TYPE_CHECKING:
    from PIL import ImageDraw

_PANELS: Final[tuple[tuple[str, Callable[[Night], float]], ...]] = (
    ("vectors made", lambda run: run.embedded),
    ("images/s", lambda run: run.images_per_second),
    ("images in quarantine", lambda run: run.quarantined),
)
_HEIGHT, _BARS = 96, 52
_BAR, _STEP = 22, 27


def trend(report: RunReport) -> Figure | None:
    """The run beside those before it over the same sources; None where there are none. Runs that did not end well have
    a cross."""
    if not report.nights:
        return None
    runs = [*reversed(report.nights), night(report)]
    canvas, draw = paper(_HEIGHT)
    width = (WIDTH + GAP) // len(_PANELS)
    for number, (title, value) in enumerate(_PANELS):
        _panel(draw, 4 + number * width, title, [value(run) for run in runs], runs)
    told = "; ".join(f"{title}: {', '.join(f'{value(run):,}' for run in runs)}" for title, value in _PANELS)
    bad = [moment(run.started) for run in runs if run.ended != "done"]
    alt = f"The last {len(runs)} runs, the oldest first. {told}" + (f". With a cross: {', '.join(bad)}" if bad else "")
    return Figure("Last runs", alt, as_webp(canvas))


def _panel(draw: ImageDraw.ImageDraw, left: int, title: str, values: Sequence[float], runs: Sequence[Night]) -> None:
    most = max(values)
    base = LINE + 8 + _BARS
    draw.text((left, 2), title, INK, font(SMALL + 1))
    for number, (value, run) in enumerate(zip(values, runs, strict=True)):
        x, last = left + number * _STEP, number == len(values) - 1
        top = base - round((_BARS - LINE) * value / (most or 1))
        draw.rectangle((x, min(top, base - 1), x + _BAR, base), fill=GOOD if last else FADED)
        if last or number == values.index(most):
            draw.text((x + _BAR / 2, top - 2), f"{value:,.4g}", INK if last else QUIET, font(SMALL), anchor="mb")
        if run.ended != "done":
            draw.line((x + 6, base - 14, x + 16, base - 4), BAD, 3)
            draw.line((x + 16, base - 14, x + 6, base - 4), BAD, 3)
        day = moment(run.started).split()[1]
        draw.text((x + _BAR / 2, base + 3), day, QUIET, font(SMALL), anchor="mt")
    draw.line((left, base + 1, left + (len(values) - 1) * _STEP + _BAR, base + 1), EMPTY)

"""One way to draw what a benchmark measured, as an SVG that is the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Series = Mapping[str, Sequence[tuple[float, float]]]


def lines(path: Path, title: str, series: Series, *, x: str, y: str, log: str = "") -> None:
    """Draw each of `series`, its points by x, into `path`. `log` names the logarithmic axes: "x", "y", "xy"."""
    figure, axes = _axes(title, x, y)
    for name, points in series.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    if "x" in log:
        axes.set_xscale("log")
    axes.set_yscale("log" if "y" in log else "linear")
    if "y" not in log:
        axes.set_ylim(bottom=0)
    _save(figure, axes, path)


def bars(path: Path, title: str, series: Mapping[str, Mapping[str, float]], *, y: str) -> None:
    """Draw groups of bars, one group a key of the inner mappings and one bar a series, into `path`."""
    figure, axes = _axes(title, "", y)
    groups = list(dict.fromkeys(group for values in series.values() for group in values))
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        places = [at + (number - (len(series) - 1) / 2) * width for at in range(len(groups))]
        axes.bar(places, [values.get(group, 0.0) for group in groups], width, label=name)
    axes.set_xticks(range(len(groups)), groups, fontsize=7)
    axes.margins(y=0.25)
    _save(figure, axes, path)


def _axes(title: str, x: str, y: str):  # type: ignore[no-untyped-def]
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "pixelmill", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure, axes, path: Path) -> None:  # type: ignore[no-untyped-def]
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")

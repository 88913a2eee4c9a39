"""Models compared, as one HTML file with the plots inside: to be kept, mailed around, looked at in ten years."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pixelmill.evaluation.told import Evaluation
from pixelmill.report.evaluation import agreement, headline, left_out, scores, verdicts
from pixelmill.report.evaluation_plots import plots
from pixelmill.report.html import picture, table, text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
div { overflow-x: auto } table { border-collapse: collapse; font-size: 13px } th, td { padding: .3em .7em }
th { border-bottom: 1px solid #999; white-space: nowrap } td { border-bottom: 1px solid #e5e5e5; white-space: nowrap }
h2 { margin: 1.6em 0 .4em; font-size: 1.2em } p { margin: .3em 0; overflow-wrap: anywhere }
h3 { margin: 1em 0 0; font-size: 1em }
section { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30em, 100%), 1fr)); gap: 0 2em }
"""


def as_page(told: Evaluation) -> str:
    """The page. It refers to nothing outside itself."""
    return "".join(_page(told))


def _page(told: Evaluation) -> Iterator[str]:
    title = f"Models compared by {told.labels}"
    yield f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{text(title)}</title>'
    yield f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>\n'
    yield f"<main><h1>{text(title)}</h1>\n<p>{text(headline(told))}</p>\n"
    when = datetime.now().strftime("%Y-%m-%d %H:%M")
    yield f"<p>Store: <code>{text(told.store)}</code>, {when}</p>\n"
    yield from _paragraphs("What came of it", verdicts(told))
    for section in (scores(told), agreement(told)):
        if section.rows:
            note = f"<p>{text(section.note)}</p>" if section.note else ""
            yield f'<h2>{section.title}</h2>\n<div tabindex="0">{table(section)}</div>{note}\n'
    yield "<h2>Plots</h2>\n<p>The mean, and the interval that holds it in 95% of resamplings of the pictures. "
    yield "Blue: the best, and what is not told apart from it.</p>\n<section>"
    yield from (f"<div><h3>{text(figure.title)}</h3>{picture(figure)}</div>\n" for figure in plots(told))
    yield "</section>\n"
    yield from _paragraphs("What was left out", left_out(told))
    yield "</main></html>\n"


def _paragraphs(title: str, lines: Iterator[str]) -> Iterator[str]:
    told = [f"<p>{text(line)}</p>\n" for line in lines]
    if told:
        yield f"<h2>{title}</h2>\n"
        yield from told

"""Thumbnails in a notebook: few, small, decoded in the sandbox, and waited for no longer than a person would."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from pixelmill.errors import PixelmillError
from pixelmill.report.html import text
from pixelmill.search.sheet import reason_of_none, thumbnail
from pixelmill.sources.found import FoundFile
from pixelmill.watch.threads import Threads, wait_for

EDGE: Final = 128
"""Longest edge in pixels: about 4 kB of a notebook's file each."""
SECONDS: Final = 5.0
"""What is not there by then is left out: a notebook waits for nothing that hangs."""
_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture to show: the files that hold it, of which the first that can be read counts, and what to say of it."""

    files: Sequence[FoundFile]
    caption: str


def gallery(pictures: Sequence[Shown]) -> str:
    """The pictures side by side, as HTML that refers to nothing outside itself. One that is gone or damaged is a box
    that says so."""
    until = time.monotonic() + SECONDS
    with Threads(_THREADS, "thumbnail") as threads:
        made = [threads.submit(_picture, one) for one in pictures]
        figures = [_figure(one, _awaited(future, until)) for one, future in zip(pictures, made, strict=True)]
    return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{"".join(figures)}</div>'


def _awaited(future: Future[str], until: float) -> str:
    if wait_for(future, max(0.0, until - time.monotonic())):
        return future.result()
    future.cancel()
    return _box("not read in time")


def _picture(one: Shown) -> str:
    why = "no file holds it"
    for file in one.files:
        try:
            if file.path:
                data = base64.b64encode(thumbnail(file, EDGE)).decode()
                return f'<img src="data:image/jpeg;base64,{data}" alt="{text(file.path)}" style="max-width: {EDGE}px">'
        except (OSError, PixelmillError) as error:
            why = reason_of_none(error)
    return _box(why)


def _box(why: str) -> str:
    return f'<div style="opacity: 0.6; font-size: 11px; padding: 8px">{text(why)}</div>'


def _figure(one: Shown, inside: str) -> str:
    caption = f'<figcaption style="font-size: 11px; overflow-wrap: anywhere">{text(one.caption)}</figcaption>'
    return f'<figure style="margin: 0; width: {EDGE}px">{inside}{caption}</figure>'

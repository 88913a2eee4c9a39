"""A contact sheet: the results of a search as one HTML file with the thumbnails inside, to be mailed around."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final

from pixelmill.errors import ImageRejected, PixelmillError
from pixelmill.formatting import printable
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import scaled_in_sandbox
from pixelmill.paths import write_page
from pixelmill.search.searcher import Found, Hit
from pixelmill.sources.found import FoundFile
from pixelmill.sources.reading import read_image

EDGE: Final = 240
"""Longest edge of a thumbnail in pixels; 40 of them make a file of about half a megabyte."""
_QUALITY: Final = 82
_STYLE: Final = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; background: #fafafa; color: #222 }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1.2em; padding: 0;
  list-style: none }
img, .none { width: 100%; height: 240px; object-fit: contain; background: #eee; display: block }
.none { display: flex; align-items: center; justify-content: center; color: #666; padding: 1em;
  box-sizing: border-box }
figure { margin: 0 } figcaption { overflow-wrap: anywhere; font-size: 12px } b { font-weight: 600 }
@media print { body { margin: 0 } figure { break-inside: avoid } }
"""


def write_sheet(out: Path, query: str, found: Found) -> None:
    """Write the results of a search for `query` to `out`, whole or not at all. It refers to nothing outside itself."""
    write_page(out, "".join(_page(query, found)))


def _page(query: str, found: Found) -> Iterator[str]:
    title = escape(printable(query))
    when = datetime.now().strftime("%Y-%m-%d %H:%M")
    yield f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>\n'
    yield f"<h1>{title}</h1>\n<p>{len(found.hits)} results by {escape(found.model)}, {when}</p>\n"
    yield from (f"<p>{escape(printable(note))}</p>\n" for note in found.notes)
    yield "<ol>\n"
    yield from map(_figure, found.hits)
    yield "</ol></html>\n"


def _figure(hit: Hit) -> str:
    names = [escape(printable(place.absolute)) for place in hit.places]
    copies = f", {len(hit.copies)} more look the same" if hit.copies else ""
    return (
        f"<li><figure>{_picture(hit, names[0])}<figcaption><b>{hit.score:.3f}</b> {'<br>'.join(names)}<br>"
        f"row {hit.row}, {hit.width} x {hit.height}{copies}</figcaption></figure></li>\n"
    )


def _picture(hit: Hit, name: str) -> str:
    """The thumbnail, of the first of the files that can be read; else what is the matter with the one shown."""
    trouble: list[OSError | PixelmillError] = []
    for place in hit.places:
        try:
            data = base64.b64encode(thumbnail(place.file)).decode()
        except (OSError, PixelmillError) as error:
            trouble.append(error)
        else:
            return f'<img src="data:image/jpeg;base64,{data}" alt="{name}">'
    return f'<div class="none">{escape(printable(reason_of_none(trouble[0])))}</div>'


def reason_of_none(error: OSError | PixelmillError) -> str:
    """Why there is no thumbnail."""
    return error.reason if isinstance(error, ImageRejected) else getattr(error, "strerror", None) or str(error)


def thumbnail(file: FoundFile, edge: int = EDGE) -> bytes:
    """A JPEG of at most `edge` x `edge` pixels, upright, of an image file, which is decoded in a process of its own.

    Raises OSError or ImageRejected for a file that is gone or damaged.
    """
    from PIL import Image

    options = DecodeOptions()
    picture = scaled_in_sandbox(read_image(file, max_bytes=options.max_bytes), options, longest=edge)
    buffer = io.BytesIO()
    Image.fromarray(picture.arrays[0]).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()

"""Where the gallery shows what a report tells of, as the part of an address behind the gallery's own."""

from __future__ import annotations

import glob
from urllib.parse import quote, urlencode

from pixelmill.formatting import printable
from pixelmill.store.quarantine import general


def folder(path: str) -> str:
    """The images below a folder; '' for one whose name is no text, which no address holds."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return ""
    return _query(glob=glob.escape(path.rstrip("/")) + "/*")


def refused(reason: str | None) -> str:
    """The images in quarantine for a reason, or for any."""
    return _query(view="quarantine", **({} if reason is None else {"reason": printable(general(reason))}))


def image(row: int) -> str:
    """One image, large."""
    return _query(open=str(row))


def at(gallery: str, link: str) -> str:
    """The whole address."""
    return gallery.rstrip("/") + link


def _query(**values: str) -> str:
    return f"/?{urlencode(values, quote_via=quote)}"

"""Names, shares and times in a form for people's eyes."""

from __future__ import annotations

from datetime import datetime


def printable(name: str) -> str:
    """A file name for a person's eyes: control characters and bytes that are no UTF-8 are escaped."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def percent(share: float) -> str:
    """A share of 1, rounded down: `100%` is all of it, and nothing less."""
    tenths = int(share * 1000 + 1e-9)
    return f"{tenths // 10}%" if tenths % 10 == 0 else f"{tenths / 10:.1f}%"


def number_of(count: int, singular: str, plural: str = "") -> str:
    """`1 image`, `4,212 images`."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def human_bytes(number: float) -> str:
    """A size such as `1.4 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def moment(isoformat: str) -> str:
    """An ISO 8601 time as `Wed 25 Nov 02:00`."""
    return datetime.fromisoformat(isoformat).strftime("%a %d %b %H:%M")


def in_words(seconds: float) -> str:
    """A duration as people say it: `40 s`, `38 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"

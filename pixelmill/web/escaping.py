"""Names that JSON can carry, wherever they stand."""

from __future__ import annotations

from typing import Any

from pixelmill.formatting import printable


def escaped(value: Any) -> Any:
    """What was made of JSON, with texts and names that are UTF-8."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): escaped(inner) for key, inner in value.items()}
    return [escaped(inner) for inner in value] if isinstance(value, list) else value

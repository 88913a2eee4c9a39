"""What on the server follows the settings, and what stays as a person has made it there.

Of each field: what set_up.py made of it last, what it is now, what it should be. Nobody changed it if it still is what
was made. Only digests of what was made are kept (in a variable of Prefect, which holds 5,000 characters).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = Mapping[str, Any]
"""By name of the field, as JSON holds it; None, or not there: it has none."""
Made = Mapping[str, str]
"""Digests by name of the field."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a deployment is to be, what is to be noted as made, and the fields that stay as a person made them."""

    fields: dict[str, Any] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def merge(made: Made, now: Fields, wanted: Fields) -> Merged:
    """Fields of which nobody has changed what was made, or which are as wanted already, are as wanted; others stay."""
    merged = Merged()
    for name in dict.fromkeys([*wanted, *made]):
        follows = digest(now.get(name)) == made.get(name) or now.get(name) == wanted.get(name)
        merged.fields[name] = (wanted if follows else now).get(name)
        noted = digest(wanted.get(name)) if follows else made.get(name)
        if noted is not None:
            merged.made[name] = noted
        if not follows:
            merged.kept.append(name)
    return merged


def as_made(fields: Fields, names: Iterable[str]) -> dict[str, str]:
    """The note by which these fields are such that nobody changed them."""
    return {name: made for name in names if (made := digest(fields.get(name))) is not None}


def digest(value: object) -> str | None:
    if value is None:
        return None
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]

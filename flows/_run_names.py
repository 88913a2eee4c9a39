"""Whether a run's name was made up: by Prefect's server, or by the form of either of its two UIs, which fills it in."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi|"
    "psi|omega"
)
_STAR = re.compile(rf"(?:{_GREEK})[1-9]\d{{0,2}}(?:-[a-z]+)+")
"""As `alpha3-ursae-majoris-nebula`: the form of Prefect's UI. Few of its names have no number, and stay."""
_GOODS = re.compile(
    "(?:Awesome|Rustic|Small|Gorgeous|Fantastic|Sleek|Intelligent|Unbranded|Refined|Licensed|Generic|Practical|"
    r"Ergonomic|Handcrafted|Tasty|Handmade|Incredible)-[^\W\d_a-z].{0,5}"
)
"""As `Rustic-Borek`: that of its second UI."""


def is_made_up(name: str) -> bool:
    """Whether nobody chose a name: it is made as Prefect makes those of runs that are given none."""
    words = name.split("-")
    by_server = len(words) == 2 and set(words) <= _words_of_server()
    return by_server or bool(_STAR.fullmatch(name) or _GOODS.fullmatch(name))


@cache
def _words_of_server() -> frozenset[str]:
    """What `prefect.utilities.names.generate_slug` puts names together from."""
    from coolname.data import config

    parts: dict[str, Any] = config
    return frozenset(word for part in parts.values() for word in part.get("words", ()))

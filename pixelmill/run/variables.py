"""What the environment of a worker's machine says of weights, as the settings would take it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from pixelmill.errors import SettingsError
from pixelmill.models.fetch.mirrors import checked_mirrors
from pixelmill.paths import local_path


def weights_variables() -> dict[str, object]:
    """Fields of a `CacheSpec` for which a variable is set, as PIXELMILL_WEIGHTS__CACHE_DIR. Raises SettingsError for
    one that does not fit."""
    found = {}
    for field, parse in _FIELDS.items():
        name = f"PIXELMILL_WEIGHTS__{field.upper()}"
        if (text := os.environ.get(name)) is not None:
            try:
                found[field] = parse(text)
            except ValueError as error:
                raise SettingsError(f"The environment variable {name} of this worker: {_said(error)}.") from error
    return found


def _mirrors(text: str) -> dict[str, str]:
    given = json.loads(text) if text.lstrip().startswith("{") else text
    return checked_mirrors(TypeAdapter(dict[str, str] | str).validate_python(given))


_FIELDS: Final[Mapping[str, Callable[[str], object]]] = {
    "cache_dir": lambda text: local_path(text).absolute(),
    "mirrors": _mirrors,
    "offline": TypeAdapter(bool).validate_python,
}


def _said(error: ValueError) -> str:
    return (error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)).rstrip(".")

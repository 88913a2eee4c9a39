"""The words that people choose from in settings and flags, and that matrices record; each is spelled here alone."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from pixelmill.errors import SettingsError

Decode = Literal["fast", "reference"]
Precision = Literal["float32", "bfloat16", "float16"]
AskedPrecision = Literal["auto", Precision]
VectorDtype = Literal["float32", "float16"]
Background = Literal["white", "none"]
Frames = Literal["first", "middle"]
FanOut = Literal["inline", "workers", "dask", "ray"]
MissingDevice = Literal["fail", "cpu"]
MissingSource = Literal["warn", "fail"]
PROMPTS: Final = ("a photo of a {}.",)
"""Into which labels are put for zero-shot: OpenAI's own, where nothing is known of the pictures."""


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raises SettingsError for a value of the argument `name` that is none of a Literal's words."""
    if value not in get_args(choices):
        words = ", ".join(get_args(choices))
        raise SettingsError(f"Expected {name} to be one of {words}. Got {value!r}.")

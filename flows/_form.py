"""How the parameters of `vectorize` show in Prefect's form: what it offers, what it refuses and in which words."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, TypeVar

from prefect import Flow
from pydantic import MISSING, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from pixelmill import catalog, choices
from settings.run import DEADLINE

AnyFlow = TypeVar("AnyFlow", bound=Flow[..., Any])
GPUS = 16
"""How many GPUs of a machine the form offers."""

_DEVICES = ["auto", "cpu", "gpu", "cuda", *(f"cuda:{number}" for number in range(GPUS))]
_OTHERS = (
    "Also open_clip:<architecture>/<pretrained>, timm:<name>, torchvision:<name>/<weights>, and your own models of "
    "pixelmill.toml."
)
_FIRST = catalog.recommended()
_NAMES = list(dict.fromkeys([*(spec.name for spec in _FIRST), *catalog.names()]))
_MODELS = {
    "uniqueItems": True,
    "anyOf": [
        {"title": "From the catalog", "type": "array", "items": {"type": "string", "enum": _NAMES}},
        {"title": "Any names", "type": "array", "items": {"type": "string"}, "description": _OTHERS},
    ],
}
# What does not fit a pattern is told with the pattern, what is not in an enum with its values: words, here.
_DEADLINE = {
    "type": "string",
    "if": {"pattern": DEADLINE},
    "else": {"enum": ["a time such as 06:00", "a span such as 90m"]},
}

Unset = SkipJsonSchema[None]
Text = str | Unset
Texts = list[str] | Unset
Count = Annotated[int, Field(ge=1)] | Unset
Switch = bool | Unset
Models = Annotated[list[str] | None, WithJsonSchema(_MODELS)]
Device = Annotated[str | None, WithJsonSchema({"type": "string", "enum": _DEVICES})]
Precision = choices.AskedPrecision | Unset
Decode = choices.Decode | Unset
Deadline = Annotated[str | None, WithJsonSchema(_DEADLINE)]


def as_form(flow: AnyFlow) -> AnyFlow:
    """Let the form leave parameters empty whose default is None. Prefect would send null for them, and show None as a
    choice beside the real one."""
    signature = inspect.signature(flow.fn, eval_str=True)
    shown = [p.replace(default=MISSING) if p.default is None else p for p in signature.parameters.values()]
    flow.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return flow

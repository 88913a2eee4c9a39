"""`[[deliveries]]`: where vectors are delivered to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import field_validator

from pixelmill.deliver.address import checked_target
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import SettingsError, nearest
from pixelmill.paths import at_home
from pixelmill.sources.address import is_address
from settings.group import Group, in_words

_HOW: Final = """Write into pixelmill.toml, or a file that --config names:

[[deliveries]]
name = "search"
to = "postgresql://app@db/photos"
models = ["efficientnet_lite0"]

docs/deliveries.md says what else may stand there."""


class DeliverySettings(Delivery, Group):
    """A mirror of the store elsewhere. `to` says where, `name` what it is called there. `models` are side by side in
    one vector, or the name of an ensemble; `columns` of the store go with row, path, source and sha256. `normalize`
    divides each model's vector by its length; `where` limits it to rows that fulfil a condition in SQL. A run whose
    delivery fails is a good one, unless that is `required`."""

    @field_validator("to")
    @classmethod
    def _fits(cls, to: str) -> str:
        scheme, _, place = in_words(checked_target, to).partition(":")
        is_here = not place.startswith("//") and not is_address(place)
        return f"{scheme}:{Path(at_home(place)).absolute()}" if is_here else to


def chosen(deliveries: Sequence[DeliverySettings], names: Sequence[str] = ()) -> tuple[Delivery, ...]:
    """Those of these names, in the order of the settings; all of them without any. Raises SettingsError for a name
    that none has, and where there are none."""
    if not deliveries:
        raise SettingsError(f"Expected [[deliveries]] in the settings, which say what goes where. Found none. {_HOW}")
    known = [delivery.name for delivery in deliveries]
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f" There are {', '.join(known)}."
            raise SettingsError(f"Expected the name of one of the [[deliveries]] in the settings. Got {name!r}.{hint}")
    return tuple(Delivery(**one.model_dump()) for one in deliveries if one.name in (names or known))

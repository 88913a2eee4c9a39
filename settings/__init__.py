"""Settings: one class a group, composed in `Settings`; from pixelmill.toml, PIXELMILL_… variables and flags."""

from settings.images import ImageSettings
from settings.models import OwnModel
from settings.root import Settings, load_settings
from settings.run import RunSettings, parse_deadline
from settings.weights import WeightsSettings

__all__ = [
    "ImageSettings",
    "OwnModel",
    "RunSettings",
    "Settings",
    "WeightsSettings",
    "load_settings",
    "parse_deadline",
]

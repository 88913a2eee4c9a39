"""Settings: one class a group, composed in `Settings`; from pixelmill.toml, PIXELMILL_… variables and flags."""

from settings.deliveries import DeliverySettings
from settings.images import ImageSettings
from settings.models import OwnModel
from settings.root import Settings, load_settings
from settings.run import RunSettings, parse_deadline
from settings.schedule import ScheduleSettings
from settings.tables import TableSettings
from settings.web import WebSettings
from settings.weights import WeightsSettings
from settings.workers import WorkerSettings

__all__ = [
    "DeliverySettings",
    "ImageSettings",
    "OwnModel",
    "RunSettings",
    "ScheduleSettings",
    "Settings",
    "TableSettings",
    "WebSettings",
    "WeightsSettings",
    "WorkerSettings",
    "load_settings",
    "parse_deadline",
]

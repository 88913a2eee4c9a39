"""When what runs by itself runs, as `[schedule]` of the settings says."""

from __future__ import annotations

from prefect.client.schemas.schedules import CronSchedule

from pixelmill.errors import SettingsError
from settings import Settings

SLUGS = {"nightly": "nightly", "maintain": "weekly", "index": "daily"}
"""By which slug the schedule of a deployment is known on the server: others there are people's own."""
FIRST = {"nightly": ["0 22 * * *", "UTC"], "maintain": ["0 12 * * 0", "UTC"], "index": ["30 6 * * *", "UTC"]}
"""What version 1.0.0 made, and noted nowhere."""
FIRST_PARAMETERS = {"deadline": "06:00"}
"""Of 1.0.0's schedule of `nightly`; today they are the deployment's."""


def hours_of(deployment: str, settings: Settings) -> list[str] | None:
    """Cron and time zone; None if there are no hours. Raises SettingsError where Prefect cannot read the cron."""
    cron = getattr(settings.schedule, deployment)
    if not cron:
        return None
    try:
        CronSchedule(cron=cron, timezone=settings.schedule.timezone)
    except ValueError as error:
        raise SettingsError(f"schedule.{deployment}: Prefect does not understand the cron {cron!r}.") from error
    return [cron, settings.schedule.timezone]


def in_words(hours: list[str] | None) -> str:
    return '"{}" ({})'.format(*hours) if hours else '""'
